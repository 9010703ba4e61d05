"""Log-likelihoods of continuations, computed once for what they have in common.

Three ways, from the cheapest to the one that every causal model takes:

- `tree`: a context once, all its continuations side by side under a block mask, and what the
  contexts of the whole benchmark begin with once for all of them;
- `cache`: a context once, its keys and values expanded for its continuations;
- `alone`: each context with each continuation.

Whether a model takes a way is seen on its first use, on the longest item, beside the last.
"""

import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache

from evomerge.scoring.cached_contexts import (
    ContextBatch,
    group_by_context,
    make_context_batch,
)
from evomerge.scoring.forward import (
    REFUSALS,
    Batch,
    Nodes,
    TokenTree,
    logits_of,
    make_batches,
    read_header,
    rounding,
    shared_header,
)
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import TokenisedItems, Tokens

Way = Literal["tree", "cache", "alone"]


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Of the pairs of some items, item by item in the order they were asked for.

    `sums` is `(n_pairs,)` float64, log p of each continuation. `greedy` is `(n_pairs,)`: 1 where
    greedy decoding says the continuation, 0 where not, -1 where a token is within rounding of
    another. `n_pairs[i]` are those of the i-th item.
    """

    sums: NDArray[np.float64]
    greedy: NDArray[np.int8]
    n_pairs: tuple[int, ...]

    def by_item(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int8]]]:
        """The sums and greedy flags of one item after another."""
        ends = list(itertools.accumulate(self.n_pairs, initial=0))
        for start, end in itertools.pairwise(ends):
            yield self.sums[start:end], self.greedy[start:end]


@dataclass(frozen=True, eq=False)
class Terms:
    """Which log-probabilities add up to which pair's log-likelihood.

    Term k is the log-probability of `tokens[k]` after wanted node `places[k]`, and part of pair
    `pairs[k]`.
    """

    places: NDArray[np.int64]
    tokens: NDArray[np.int64]
    pairs: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pass:
    """A batch and the terms of its logits, as tensors on the model's device."""

    batch: Batch | ContextBatch
    places: Tensor
    tokens: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, batch: Batch | ContextBatch, terms: Sequence[Terms]) -> "Pass":
        """A batch with the terms of its members."""
        arrays = (
            np.concatenate([getattr(own, name) for own in terms])
            for name in ("places", "tokens", "pairs")
        )
        return cls(
            batch, *(torch.from_numpy(array.astype(np.int64)).to(batch.device) for array in arrays)
        )

    def logits(self, resident: ResidentModel, header: Cache | None) -> Tensor:
        """The logits that the places of the terms are counted in, `(n_wanted, n_vocab)`."""
        if isinstance(self.batch, ContextBatch):
            return self.batch.logits(resident)
        return logits_of(resident, self.batch, header)


class LikelihoodPass:
    """Computes the log-likelihoods of a benchmark's pairs with the weights of the moment."""

    def __init__(self, resident: ResidentModel, items: TokenisedItems, max_length: int) -> None:
        self._resident, self._items, self._max_length = resident, items, max_length
        self._plan = lru_cache(maxsize=4)(self._make_plan)
        self._tree = lru_cache(maxsize=10_000)(self._make_tree)

    def fits(self, item: int) -> bool:
        """Whether lm-eval takes this item; what it refuses is left to it to explain."""
        return all(
            len(context) and 0 < len(continuation) <= self._max_length
            for context, continuation in self._items.pairs(item)
        )

    def run(self, items: Sequence[int], *, greedy: bool = False) -> Likelihoods:
        """The log-likelihoods of the items' pairs, and where `greedy` the greedy flags.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        return self._run(tuple(items), self.way, greedy=greedy)

    @cached_property
    def way(self) -> Way:
        """The cheapest way that this model takes."""
        items = [item for item in range(self._items.n_items) if self.fits(item)]
        if not items:
            return "alone"
        longest = (max(items, key=lambda item: max(map(len, self._sequences(item)))),)
        alone = self._run(longest, "alone", greedy=False).sums
        error = rounding(self._resident.dtype, float(np.abs(alone).max()))
        ways: tuple[Way, ...] = ("tree", "cache")
        return next((way for way in ways if self._agrees(longest, way, alone, error)), "alone")

    def _agrees(
        self, items: tuple[int, ...], way: Way, expected: NDArray[np.float64], error: float
    ) -> bool:
        parameters = inspect.signature(self._resident.model.forward).parameters
        if way == "tree" and "position_ids" not in parameters:
            return False
        try:
            found = self._run(items, way, greedy=False).sums
        except REFUSALS:
            return False
        return bool(np.abs(found - expected).max() < error)

    def _run(self, items: tuple[int, ...], way: Way, *, greedy: bool) -> Likelihoods:
        n_pairs = tuple(len(self._items.pairs(item)) for item in items)
        sums = torch.zeros(sum(n_pairs), dtype=torch.float64, device=self._resident.device)
        # How far the worst token of each pair stands above all others, or below the best.
        leads = torch.full_like(sums, torch.inf)
        with torch.inference_mode():
            header = self._read_header() if way == "tree" else None
            for part in self._plan(items, way):
                logits = part.logits(self._resident, header)
                chosen = logits[part.places, part.tokens]
                terms = chosen - logits.logsumexp(-1)[part.places]
                sums.index_add_(0, part.pairs, terms.double())
                if greedy:
                    lead = _lead(logits.topk(2), part, chosen).double()
                    leads.scatter_reduce_(0, part.pairs, lead, "amin")
        return Likelihoods(sums.cpu().numpy(), self._flags(leads.cpu().numpy()), n_pairs)

    def _flags(self, leads: NDArray[np.float64]) -> NDArray[np.int8]:
        error = rounding(self._resident.dtype)
        return np.where(leads > error, 1, np.where(leads < -error, 0, -1)).astype(np.int8)

    def _make_plan(self, items: tuple[int, ...], way: Way) -> list[Pass]:
        if way == "cache":
            return self._plan_contexts(items)
        trees = [tree for item in items for tree in self._trees(item, way)]
        firsts = itertools.accumulate((own.n_pairs for own in trees), initial=0)
        first_pairs = list(firsts)
        batches = make_batches(
            [own.tree for own in trees], [own.wanted for own in trees], self._resident.device
        )
        return [_pass(batch, trees, first_pairs) for batch in batches]

    def _plan_contexts(self, items: tuple[int, ...]) -> list[Pass]:
        pairs = [pair for item in items for pair in self._cut(item)]
        continuations = [continuation for _, continuation in pairs]
        passes = []
        for groups in group_by_context([context for context, _ in pairs]):
            batch, places = make_context_batch(groups, continuations, self._resident.device)
            terms = [
                Terms(own, continuations[p].astype(np.int64), np.full(len(own), p))
                for p, own in places
            ]
            passes.append(Pass.of(batch, terms))
        return passes

    def _trees(self, item: int, way: Way) -> list["WantedTree"]:
        if way == "tree":
            return [self._tree(item)]
        return [_wanted_tree([pair], n_before=0) for pair in self._cut(item)]

    def _make_tree(self, item: int) -> "WantedTree":
        return _wanted_tree(self._cut(item), n_before=self._n_header)

    def _cut(self, item: int) -> list[tuple[Tokens, Tokens]]:
        """The item's pairs, contexts without what lm-eval cuts off where they are too long."""
        return [
            (context[max(0, len(context) + len(own) - 1 - self._max_length) :], own)
            for context, own in self._items.pairs(item)
        ]

    def _sequences(self, item: int) -> list[Tokens]:
        return [np.concatenate(pair) for pair in self._cut(item)]

    def _read_header(self) -> Cache | None:
        return read_header(self._resident, self._header) if self._n_header else None

    @property
    def _n_header(self) -> int:
        return len(self._header)

    @cached_property
    def _header(self) -> Tokens:
        """What all contexts begin with, or nothing where that is short."""
        items = (item for item in range(self._items.n_items) if self.fits(item))
        return shared_header([context for item in items for context, _ in self._cut(item)])


@dataclass(frozen=True, eq=False)
class WantedTree:
    """A tree without its paths, the nodes whose logits are wanted, and the terms of these.

    The places and pairs of `terms` are counted within this tree.
    """

    tree: TokenTree
    wanted: Nodes
    terms: Terms
    n_pairs: int


def _wanted_tree(pairs: Sequence[tuple[Tokens, Tokens]], n_before: int) -> WantedTree:
    """The tree of some pairs without their first `n_before` tokens, computed before."""
    tree = TokenTree.of([np.concatenate([c[n_before:], own[:-1]]) for c, own in pairs])
    nodes = [path[-len(own) :] for path, (_, own) in zip(tree.paths, pairs, strict=True)]
    wanted = np.unique(np.concatenate(nodes))
    terms = Terms(
        places=np.searchsorted(wanted, np.concatenate(nodes)),
        tokens=np.concatenate([own for _, own in pairs]).astype(np.int64),
        pairs=np.repeat(np.arange(len(pairs)), [len(own) for own in nodes]),
    )
    return WantedTree(replace(tree, paths=()), wanted, terms, len(pairs))


def _pass(batch: Batch, trees: Sequence[WantedTree], first_pairs: Sequence[int]) -> Pass:
    members = [trees[t] for t in batch.members]
    places = itertools.accumulate((len(own.wanted) for own in members), initial=0)
    return Pass.of(
        batch,
        [
            Terms(own.terms.places + place, own.terms.tokens, own.terms.pairs + first_pairs[t])
            for own, place, t in zip(members, places, batch.members, strict=False)
        ],
    )


def _lead(top: torch.return_types.topk, part: Pass, chosen: Tensor) -> Tensor:
    """How far each term's token stands above all others, negative where another is above it."""
    best, second = top.values[part.places].T
    is_best = top.indices[part.places, 0] == part.tokens
    return torch.where(is_best, best - second, chosen - best)
