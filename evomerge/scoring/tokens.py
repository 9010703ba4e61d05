"""Benchmarks as flat arrays of tokens: made once, by whoever hands the benchmarks out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Pair = tuple[list[int], list[int]]
"""A context and its continuation."""


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Token sequences end to end: sequence i is `tokens[offsets[i] : offsets[i + 1]]`."""

    tokens: Tokens
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> "TokenTable":
        """The table of some sequences in their order."""
        rows = [np.asarray(sequence, np.int32) for sequence in sequences]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *rows]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Tokens:
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, eq=False)
class TokenisedItems:
    """The pairs of context and continuation of each item; a context that many share once.

    Pair p is `contexts[context_of[p]]` and `continuations[p]`; item i has the pairs from
    `first_pair[i]` to before `first_pair[i + 1]`. They are the choices of a question, the windows
    of a text, or a prompt and its right answer (empty where the task has no single one).
    """

    contexts: TokenTable
    continuations: TokenTable
    context_of: NDArray[np.int32]
    first_pair: NDArray[np.int64]

    @classmethod
    def of(cls, items: Sequence[Sequence[Pair]]) -> "TokenisedItems":
        """The arrays of each item's pairs."""
        pairs = [pair for own in items for pair in own]
        numbers: dict[tuple[int, ...], int] = {}
        context_of = [numbers.setdefault(tuple(context), len(numbers)) for context, _ in pairs]
        return cls(
            contexts=TokenTable.of(numbers),
            continuations=TokenTable.of(continuation for _, continuation in pairs),
            context_of=np.asarray(context_of, np.int32),
            first_pair=np.cumsum([0, *map(len, items)], dtype=np.int64),
        )

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.first_pair) - 1

    def pairs(self, item: int) -> list[tuple[Tokens, Tokens]]:
        """The contexts and continuations of an item."""
        return [
            (self.contexts[self.context_of[p]], self.continuations[p])
            for p in range(self.first_pair[item], self.first_pair[item + 1])
        ]
