"""Batched forward passes that compute only what is asked: shared prefixes once, few logits.

Token sequences that begin alike form a tree: a node is a token that sees its ancestors. The nodes
are numbered in depth-first order, so that the descendants of node j are j + 1 … end(j) - 1, and
node i sees node j if j ≤ i < end(j). A single sequence is a tree without branches.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evomerge.scoring.resident import ResidentModel

BATCH_TOKENS = 2048
"""Padded tokens in a batch: enough to keep a core busy, few enough for its cache."""

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.06, torch.bfloat16: 0.5}


def rounding(dtype: torch.dtype, magnitude: float = 0.0) -> float:
    """How close two logits (or log-likelihoods) of some magnitude may be and still change order.

    Generous: differences between batch shapes and kernels were seen up to 3e-5 in float32, and
    up to 0.2 in bfloat16, whose spacing at 16 is already 0.125.
    """
    return _TOLERANCE[dtype] * (1.0 + magnitude / 16.0)


def n_shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common from the start."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


@dataclass(frozen=True)
class TokenTree:
    """Token sequences with shared prefixes; `paths[s]` are the nodes of sequence s in order."""

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "TokenTree":
        """The tree of some sequences, which keep their order in `paths`."""
        tokens: list[int] = []
        depths: list[int] = []
        ends: list[int] = []
        paths: dict[int, tuple[int, ...]] = {}
        path: list[int] = []
        for s in sorted(range(len(sequences)), key=lambda s: tuple(sequences[s])):
            shared = n_shared([tokens[node] for node in path], sequences[s])
            for node in path[shared:]:
                ends[node] = len(tokens)
            del path[shared:]
            for depth, token in enumerate(sequences[s][shared:], start=shared):
                path.append(len(tokens))
                tokens.append(token)
                depths.append(depth)
                ends.append(0)
            paths[s] = tuple(path)
        for node in path:
            ends[node] = len(tokens)
        ordered = tuple(paths[s] for s in range(len(sequences)))
        return cls(tuple(tokens), tuple(depths), tuple(ends), ordered)

    @property
    def branches(self) -> bool:
        """Whether some node has two successors."""
        return any(end != len(self.tokens) for end in self.ends)


@dataclass(frozen=True)
class Batch:
    """Trees of similar size, padded on the right, and the nodes whose logits are wanted.

    `tokens`, `depths` and `ends` are `(n_trees, n_nodes)`; `rows` and `columns`, `(n_wanted,)`,
    name the wanted nodes tree by tree; `members` are the trees' places in the list they came from.
    """

    members: tuple[int, ...]
    tokens: Tensor
    depths: Tensor
    ends: Tensor
    rows: Tensor
    columns: Tensor
    branches: bool


def make_batches(
    trees: Sequence[TokenTree], wanted: Sequence[Sequence[int]], device: torch.device
) -> list[Batch]:
    """Sort trees by size into batches; `wanted[t]` are the nodes of tree t whose logits matter."""
    by_size = sorted(range(len(trees)), key=lambda t: -len(trees[t].tokens))
    batches = []
    while by_size:
        n = max(1, BATCH_TOKENS // len(trees[by_size[0]].tokens))
        batches.append(_pad(by_size[:n], trees, wanted, device))
        by_size = by_size[n:]
    return batches


def logits_of(resident: ResidentModel, batch: Batch) -> Tensor:
    """The logits after each wanted node, `(n_wanted, n_vocab)`, float32 or wider.

    The output layer is applied to the wanted positions alone.

    Raises:
        NonFiniteScore: some logit is NaN or infinite.
    """

    def select(_head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][batch.rows, batch.columns], *inputs[1:])

    # Right padding needs no mask: a causal model does not look ahead.
    extra = _tree_inputs(batch, resident.dtype) if batch.branches else {}
    handle = resident.head.register_forward_pre_hook(select)
    try:
        logits: Tensor = resident.model(input_ids=batch.tokens, use_cache=False, **extra).logits
    finally:
        handle.remove()
    return logits if logits.dtype == torch.float64 else logits.float()


def _tree_inputs(batch: Batch, dtype: torch.dtype) -> dict[str, Tensor]:
    nodes = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    sees = (nodes <= nodes[:, None]) & (nodes[:, None] < batch.ends[:, None, :])
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    mask.masked_fill_(~sees, torch.finfo(dtype).min)  # added to the scores of attention
    return {"attention_mask": mask[:, None], "position_ids": batch.depths}


def _pad(
    members: Sequence[int],
    trees: Sequence[TokenTree],
    wanted: Sequence[Sequence[int]],
    device: torch.device,
) -> Batch:
    n_nodes = max(len(trees[t].tokens) for t in members)

    def stack(rows: Iterator[tuple[int, ...]], padding: Sequence[int]) -> Tensor:
        return torch.tensor([[*row, *padding[len(row) :]] for row in rows], device=device)

    rows = itertools.chain.from_iterable([b] * len(wanted[t]) for b, t in enumerate(members))
    columns = itertools.chain.from_iterable(wanted[t] for t in members)
    return Batch(
        members=tuple(members),
        tokens=stack((trees[t].tokens for t in members), [0] * n_nodes),
        depths=stack((trees[t].depths for t in members), range(n_nodes)),
        # A padding node sees itself: softmax over nothing would be NaN.
        ends=stack((trees[t].ends for t in members), range(1, n_nodes + 1)),
        rows=torch.tensor(list(rows), device=device),
        columns=torch.tensor(list(columns), device=device),
        branches=any(trees[t].branches for t in members),
    )
