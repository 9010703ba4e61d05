"""Models with different vocabularies seen as models with the same one, row by row.

A merge combines tensors position by position, so that before it every model needs the same token in
the same row. Where a model lacks a token, its row is filled so that the merge does the obvious:

    the base has the token     the base's row: the model has nothing to say about it
    the base lacks it          the mean of the rows of those that have it (of one: its own)
    nobody has it (padding)    the mean row of the model's own table: a token that is never said

A row without a token is matched by its place, where the other model has no token there either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from evomerge.checkpoint.vocabulary import Vocabulary, read_vocabulary
from evomerge.checkpoint.vocabulary_config import Configured
from evomerge.checkpoint.vocabulary_tables import vocabulary_tables
from evomerge.records import LowRankSource, TensorInfo, TensorSource


class Model(TensorSource, Configured, Protocol):
    """A model with its folder, such as an open checkpoint."""


@dataclass(frozen=True)
class Part:
    """A model with its vocabulary tables, and the tokens that have a row in them."""

    source: Model
    tables: tuple[str, ...]
    n_rows: int
    vocabulary: Vocabulary | None

    @classmethod
    def of(cls, source: Model) -> "Part":
        """The model's tables and tokens, from its tensors' names and its tokenizer.json.

        Raises:
            ModelError: the tokenizer is damaged.
        """
        tables, n_rows = vocabulary_tables(source.infos(), source.config)
        vocabulary = read_vocabulary(source.path)
        return cls(source, tables, n_rows, vocabulary.within(n_rows) if vocabulary else None)


@dataclass(frozen=True)
class Placed:
    """A model and, for each row that is wanted, the row that it has for it, or -1."""

    part: Part
    rows: Tensor

    @cached_property
    def is_beginning(self) -> bool:
        """Whether the wanted rows are the first rows of the model as they are."""
        n = len(self.rows)
        return n <= self.part.n_rows and torch.equal(self.rows, torch.arange(n))


class AlignedModel:
    """A model whose vocabulary tables have other rows than on disk; all else is as it was.

    The table that was read last is held in memory, so that reading its parts gathers it once.
    """

    def __init__(self, mine: Placed, everyone: Sequence[Placed]) -> None:
        source = mine.part.source
        self.path = source.path
        self.config = source.config
        self._source = source
        self._mine = mine
        self._everyone = everyone
        self._tables = frozenset(mine.part.tables)
        self._infos = {
            name: self._with_rows(info) if name in self._tables else info
            for name, info in source.infos().items()
        }
        self._last: tuple[str, Tensor] | None = None

    def infos(self) -> Mapping[str, TensorInfo]:
        """Every tensor's name, shape and dtype, the tables with the rows that all models have."""
        return self._infos

    def read(self, name: str) -> Tensor:
        """The tensor; memory-mapped, except for a table whose rows had to be gathered."""
        if name not in self._tables:
            return self._source.read(name)
        last = self._last  # another thread may replace it
        if last is None or last[0] != name:
            last = self._last = None  # freed before the next is made
            last = self._last = (name, self._gathered(name))
        return last[1]

    def _with_rows(self, info: TensorInfo) -> TensorInfo:
        return TensorInfo(info.name, (len(self._mine.rows), *info.shape[1:]), info.dtype)

    def _gathered(self, name: str) -> Tensor:
        stored, rows = self._source.read(name), self._mine.rows
        if self._mine.is_beginning:
            return stored[: len(rows)]
        table = stored.index_select(0, rows.clamp(min=0))
        missing = (rows < 0).nonzero().squeeze(1)
        if len(missing):
            table[missing] = _filled(name, missing, stored, self._everyone)
        return table


class AlignedAdapter(AlignedModel):
    """An adapter likewise: a `LowRankSource`, whose tables are low-rank no more."""

    def __init__(self, mine: Placed, everyone: Sequence[Placed], low_rank: LowRankSource) -> None:
        super().__init__(mine, everyone)
        self._low_rank = low_rank

    def factors(self, name: str) -> tuple[Tensor, Tensor] | None:
        """B `(m, r)` and A `(r, n)` with τ = B A; None for a table, or where there are none."""
        return None if name in self._tables else self._low_rank.factors(name)


def places(part: Part, wanted: Vocabulary, n_rows: int) -> Tensor:
    """`(n_rows,)` int64: the row of the model for each wanted row, -1 where it has none."""
    rows = torch.full((n_rows,), -1)
    if part.vocabulary is None:
        return rows
    both = min(n_rows, part.n_rows)
    unnamed = torch.ones(both, dtype=torch.bool)
    for vocabulary in (wanted, part.vocabulary):
        unnamed[[i for i in vocabulary.tokens if i < both]] = False
    rows[:both][unnamed] = torch.arange(both)[unnamed]
    pairs = [(i, part.vocabulary.ids.get(t, -1)) for t, i in wanted.ids.items() if i < n_rows]
    ids, found = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    rows[ids] = found
    return rows


def aligned(mine: Placed, everyone: Sequence[Placed]) -> Model:
    """The model itself where its rows are those wanted, or where nothing says what they are."""
    as_it_is = mine.is_beginning and len(mine.rows) == mine.part.n_rows
    if as_it_is or mine.part.vocabulary is None:
        return mine.part.source
    source = mine.part.source
    if isinstance(source, LowRankSource):
        return AlignedAdapter(mine, everyone, source)
    return AlignedModel(mine, everyone)


def _filled(name: str, missing: Tensor, stored: Tensor, everyone: Sequence[Placed]) -> Tensor:
    """`(n_missing, ...)` float32 rows that a table lacks, as the head of this file says."""
    base, *experts = everyone
    total, count = _sum(name, missing, [base], stored)
    orphans = (count == 0).nonzero().squeeze(1)
    if len(orphans):
        total[orphans], count[orphans] = _sum(name, missing[orphans], experts, stored)
    mean = total / count.clamp(min=1).reshape(-1, *[1] * (stored.dim() - 1))
    if not count.all():
        mean[count == 0] = stored.float().mean(0)
    return mean.to(stored.dtype)


def _sum(
    name: str, missing: Tensor, models: Sequence[Placed], like: Tensor
) -> tuple[Tensor, Tensor]:
    """The sum of the rows that these models have, and how many have each."""
    total, count = torch.zeros((len(missing), *like.shape[1:])), torch.zeros(len(missing))
    for model in models:
        if name in model.part.tables:
            rows = model.rows[missing]
            has = rows >= 0
            total[has] += model.part.source.read(name)[rows[has]].float()
            count[has] += 1
    return total, count
