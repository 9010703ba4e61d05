"""Contexts computed once, whose keys and values are expanded for their continuations.

For models that take no mask of ours. Contexts of equal length are stacked without padding, so that
every row that follows stands at the same place; continuations are padded on the right.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evomerge.scoring.forward import BATCH_TOKENS, new_cache, repeated, wanted_logits
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import Tokens


@dataclass(frozen=True, eq=False)
class ContextBatch:
    """Contexts `(n_contexts, n_tokens)`, and what follows them, all but each last token.

    Row r of `following` stands behind context `context_of[r]`. The logits are those after each
    context, then those after the tokens of `following` at `rows` and `columns`.
    """

    contexts: Tensor
    following: Tensor
    context_of: Tensor
    rows: Tensor
    columns: Tensor

    @property
    def device(self) -> torch.device:
        """Where it is to be computed."""
        return self.contexts.device

    def logits(self, resident: ResidentModel) -> Tensor:
        """The logits after contexts and following tokens, `(n_contexts + n_wanted, n_vocab)`."""
        cache = new_cache(resident)
        n_contexts, n_tokens = self.contexts.shape
        each = torch.arange(n_contexts, device=self.device)
        inputs = {"past_key_values": cache, "use_cache": True}
        ends = (each, torch.full_like(each, n_tokens - 1))
        first = wanted_logits(resident, self.contexts, ends, inputs)
        if not len(self.context_of):
            return first
        inputs["past_key_values"] = repeated(cache, self.context_of)
        rest = wanted_logits(resident, self.following, (self.rows, self.columns), inputs)
        return torch.cat([first, rest])


@dataclass(frozen=True, eq=False)
class ContextGroup:
    """A context and the numbers of the pairs that it is the context of."""

    context: Tokens
    pairs: tuple[int, ...]


def group_by_context(contexts: Sequence[Tokens]) -> list[list[ContextGroup]]:
    """Pairs with the same context, in groups of contexts of one length that fit into a batch."""
    numbers: dict[bytes, list[int]] = {}
    for number, context in enumerate(contexts):
        numbers.setdefault(context.tobytes(), []).append(number)
    groups = [ContextGroup(contexts[own[0]], tuple(own)) for own in numbers.values()]
    groups.sort(key=lambda group: -len(group.context))
    batches = []
    for length, same in itertools.groupby(groups, key=lambda group: len(group.context)):
        rest = list(same)
        size = max(1, BATCH_TOKENS // length)
        batches += [rest[start : start + size] for start in range(0, len(rest), size)]
    return batches


def make_context_batch(
    groups: Sequence[ContextGroup], continuations: Sequence[Tokens], device: torch.device
) -> tuple[ContextBatch, list[tuple[int, np.ndarray]]]:
    """A batch, and for each of its pairs the places in its logits that its tokens come after."""
    pairs = [(c, pair) for c, group in enumerate(groups) for pair in group.pairs]
    long = [(c, pair) for c, pair in pairs if len(continuations[pair]) > 1]
    lengths = np.array([len(continuations[pair]) - 1 for _, pair in long], np.int64)
    following = np.zeros((len(long), lengths.max(initial=0)), np.int64)
    for row, (_, pair) in enumerate(long):
        following[row, : lengths[row]] = continuations[pair][:-1]
    starts = dict(zip((pair for _, pair in long), np.cumsum([0, *lengths]), strict=False))
    places = [
        (pair, _places(c, len(groups) + starts.get(pair, 0), len(continuations[pair]) - 1))
        for c, pair in pairs
    ]
    columns = [np.arange(length) for length in lengths]
    batch = ContextBatch(
        contexts=_tensor(np.stack([group.context for group in groups]), device),
        following=_tensor(following, device),
        context_of=_tensor(np.array([c for c, _ in long], np.int64), device),
        rows=_tensor(np.repeat(np.arange(len(long)), lengths), device),
        columns=_tensor(np.concatenate([np.empty(0, np.int64), *columns]), device),
    )
    return batch, places


def _places(context: int, start: int, n_following: int) -> np.ndarray:
    return np.concatenate([[context], np.arange(start, start + n_following)]).astype(np.int64)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
