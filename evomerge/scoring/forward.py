"""Batched forward passes that compute only what is asked: shared prefixes once, few logits.

Token sequences that begin alike form a tree: a node is a token that sees its ancestors. The nodes
are numbered in depth-first order, so that the descendants of node j are j + 1 … end(j) - 1, and
node i sees node j if j ≤ i < end(j). A single sequence is a tree without branches. What all trees
begin with may be a header that is computed before them and kept in a cache.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from evomerge.scoring.resident import NonFiniteScore, ResidentModel

Nodes = NDArray[np.int64]

BATCH_TOKENS = 2048
"""Padded tokens in a batch: enough to keep a core busy, few enough for its cache."""

SHORTEST_HEADER = 16
"""Tokens that must be common to all sequences to be worth a pass of their own."""

REFUSALS = (AttributeError, LookupError, NonFiniteScore, RuntimeError, TypeError, ValueError)
"""What comes of a mask or a cache that a model does not take."""

_KEPT_MASK, _KEEPING_BATCHES = 1 << 19, 32
"""Entries of a mask that is kept for the next pass, where there are so few batches."""

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.06, torch.bfloat16: 0.5}


def rounding(dtype: torch.dtype, magnitude: float = 0.0) -> float:
    """How close two logits (or log-likelihoods) of some magnitude may be and still change order.

    Generous: differences between batch shapes and kernels were seen up to 3e-5 in float32, and
    up to 0.2 in bfloat16, whose spacing at 16 is already 0.125.
    """
    return _TOLERANCE[dtype] * (1.0 + magnitude / 16.0)


def n_shared(a: Sequence[int] | NDArray[np.integer], b: Sequence[int] | NDArray[np.integer]) -> int:
    """How many tokens two sequences have in common from the start."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(np.asarray(a[:n]) != np.asarray(b[:n]))
    return int(differ[0]) if len(differ) else n


@dataclass(frozen=True, eq=False)
class TokenTree:
    """Token sequences with shared prefixes; `paths[s]` are the nodes of sequence s in order.

    `tokens`, `depths` and `ends` are `(n_nodes,)` int64.
    """

    tokens: Nodes
    depths: Nodes
    ends: Nodes
    paths: tuple[Nodes, ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int] | NDArray[np.integer]]) -> "TokenTree":
        """The tree of some sequences, which keep their order in `paths`."""
        rows = [np.asarray(sequence, np.int64) for sequence in sequences]
        size = sum(map(len, rows))
        tokens, depths, ends = np.empty((3, size), np.int64)
        paths: dict[int, Nodes] = {}
        path, n_nodes = np.empty(0, np.int64), 0
        for s in sorted(range(len(rows)), key=lambda s: rows[s].tolist()):
            shared = n_shared(tokens[path], rows[s])
            ends[path[shared:]] = n_nodes
            stop = n_nodes + len(rows[s]) - shared
            tokens[n_nodes:stop] = rows[s][shared:]
            depths[n_nodes:stop] = np.arange(shared, len(rows[s]))
            path = paths[s] = np.concatenate([path[:shared], np.arange(n_nodes, stop)])
            n_nodes = stop
        ends[path] = n_nodes
        ordered = tuple(paths[s] for s in range(len(rows)))
        return cls(tokens[:n_nodes], depths[:n_nodes], ends[:n_nodes], ordered)

    @property
    def branches(self) -> bool:
        """Whether some node has two successors."""
        return bool((self.ends != len(self.tokens)).any())


@dataclass(frozen=True, eq=False)
class Batch:
    """Trees of similar size, padded on the right, and the nodes whose logits are wanted.

    `tokens`, `depths` and `ends` are `(n_trees, n_nodes)`; `rows` and `columns`, `(n_wanted,)`,
    name the wanted nodes tree by tree; `members` are the trees' places in the list they came from.
    `keeps_mask` is whether its mask may stay for the next pass.
    """

    members: tuple[int, ...]
    tokens: Tensor
    depths: Tensor
    ends: Tensor
    rows: Tensor
    columns: Tensor
    branches: bool
    keeps_mask: bool
    _inputs: dict[tuple[torch.dtype, int], dict[str, Tensor]] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it is to be computed."""
        return self.tokens.device

    def inputs(self, dtype: torch.dtype, n_before: int) -> dict[str, Tensor]:
        """What the model must be told beside the tokens, `n_before` tokens standing before them."""
        if not self.branches:
            # Right padding needs no mask: a causal model does not look ahead.
            return {}
        if (dtype, n_before) in self._inputs:
            return self._inputs[dtype, n_before]
        inputs = self._tree_inputs(dtype, n_before)
        if self.keeps_mask and inputs["attention_mask"].numel() <= _KEPT_MASK:
            self._inputs[dtype, n_before] = inputs
        return inputs

    def _tree_inputs(self, dtype: torch.dtype, n_before: int) -> dict[str, Tensor]:
        n_trees, n_nodes = self.tokens.shape
        nodes = torch.arange(n_nodes, device=self.tokens.device)
        hidden = (nodes > nodes[:, None]) | (nodes[:, None] >= self.ends[:, None, :])
        mask = torch.zeros(n_trees, n_nodes, n_before + n_nodes, dtype=dtype, device=hidden.device)
        # Added to the scores of attention.
        mask[:, :, n_before:].masked_fill_(hidden, torch.finfo(dtype).min)
        return {"attention_mask": mask[:, None], "position_ids": self.depths + n_before}


def make_batches(
    trees: Sequence[TokenTree],
    wanted: Sequence[Sequence[int] | Nodes],
    device: torch.device,
) -> list[Batch]:
    """Sort trees by size into batches; `wanted[t]` are the nodes of tree t whose logits matter."""
    by_size = sorted(range(len(trees)), key=lambda t: -len(trees[t].tokens))
    batches = []
    while by_size:
        n = max(1, BATCH_TOKENS // len(trees[by_size[0]].tokens))
        batches.append(by_size[:n])
        by_size = by_size[n:]
    keeps_mask = len(batches) <= _KEEPING_BATCHES
    return [_pad(members, trees, wanted, device, keeps_mask=keeps_mask) for members in batches]


def logits_of(resident: ResidentModel, batch: Batch, header: Cache | None = None) -> Tensor:
    """The logits after each wanted node, `(n_wanted, n_vocab)`, float32 or wider.

    The output layer is applied to the wanted positions alone.

    Args:
        resident: the model.
        batch: what to compute.
        header: what it has seen before every tree of the batch.

    Raises:
        NonFiniteScore: some logit is NaN or infinite.
    """
    n_before = 0 if header is None else header.get_seq_length()
    inputs: dict[str, object] = {**batch.inputs(resident.dtype, n_before)}
    if header is not None:
        rows = torch.zeros(len(batch.members), dtype=torch.int64, device=batch.device)
        inputs |= {"past_key_values": repeated(header, rows), "use_cache": True}
    return wanted_logits(resident, batch.tokens, (batch.rows, batch.columns), inputs)


def wanted_logits(
    resident: ResidentModel,
    tokens: Tensor,
    wanted: tuple[Tensor, Tensor],
    inputs: dict[str, object],
) -> Tensor:
    """The logits at the wanted rows and columns of a batch of tokens, `(n_wanted, n_vocab)`."""

    def select(_head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (given[0][wanted], *given[1:])

    handle = resident.head.register_forward_pre_hook(select)
    try:
        logits: Tensor = resident.model(input_ids=tokens, **{"use_cache": False, **inputs}).logits
    finally:
        handle.remove()
    return logits if logits.dtype == torch.float64 else logits.float()


def shared_header(sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """What all sequences begin with, up to each one's last token; nothing where it is short."""
    if len(sequences) < 2:
        return np.empty(0, np.int32)
    n = min(min(n_shared(sequences[0], own), len(own) - 1) for own in sequences)
    return sequences[0][:n] if n >= SHORTEST_HEADER else np.empty(0, np.int32)


def new_cache(resident: ResidentModel) -> Cache:
    """An empty cache, of the kinds of layers that the model has."""
    return DynamicCache(config=resident.model.config)


def read_header(resident: ResidentModel, tokens: NDArray[np.integer]) -> Cache:
    """What the model keeps of a sequence that others begin with."""
    cache = new_cache(resident)
    row = torch.tensor(np.asarray(tokens)[None], dtype=torch.int64, device=resident.device)
    first = torch.zeros(1, dtype=torch.int64, device=resident.device)
    wanted_logits(resident, row, (first, first), {"past_key_values": cache, "use_cache": True})
    return cache


def repeated(cache: Cache, rows: Tensor) -> Cache:
    """A cache of its own with these rows of another, of which one may come often."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    own.batch_select_indices(rows)
    return own


def _pad(
    members: Sequence[int],
    trees: Sequence[TokenTree],
    wanted: Sequence[Sequence[int] | Nodes],
    device: torch.device,
    *,
    keeps_mask: bool,
) -> Batch:
    n_nodes = max(len(trees[t].tokens) for t in members)
    shape = (len(members), n_nodes)
    tokens = np.zeros(shape, np.int64)
    depths = np.broadcast_to(np.arange(n_nodes), shape).copy()
    ends = depths + 1  # a padding node sees itself: softmax over nothing would be NaN
    for row, t in enumerate(members):
        n = len(trees[t].tokens)
        tokens[row, :n], depths[row, :n], ends[row, :n] = (
            trees[t].tokens, trees[t].depths, trees[t].ends,
        )  # fmt: skip
    columns = [np.asarray(wanted[t], np.int64) for t in members]
    rows = np.repeat(np.arange(len(members)), [len(own) for own in columns])
    return Batch(
        members=tuple(members),
        tokens=torch.from_numpy(tokens).to(device),
        depths=torch.from_numpy(depths).to(device),
        ends=torch.from_numpy(ends).to(device),
        rows=torch.from_numpy(rows).to(device),
        columns=torch.from_numpy(np.concatenate(columns)).to(device),
        branches=any(trees[t].branches for t in members),
        keeps_mask=keeps_mask,
    )
