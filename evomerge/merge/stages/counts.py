"""Weigh: factors from how many experts change an entry at all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Factors, Stack, add
from evomerge.merge.vectors import ExpertVector


def shared_and_unique(stack: Stack) -> Factors:
    """λᵢ where expert i alone changes an entry, λᵢ / count where several do (RAM).

    An expert changes an entry by more than `epsilon`; smaller changes are dropped.
    """
    return _shared_and_unique(stack, [1.0] * len(stack.vectors))


def amplified_by_tensor(stack: Stack) -> Factors:
    """As `shared_and_unique`, unique changes times 1 + `r` · min(ρᵢ, `alpha`) (RAM+).

    ρᵢ is the number of entries of the tensor that expert i shares with others, over the number of
    those that it alone changes.
    """
    return _amplified(stack, _counts(stack.vectors, stack.setting("epsilon")))


def amplified_by_model(stack: Stack) -> Factors:
    """As `amplified_by_tensor`, ρᵢ counted over all tensors of the model."""
    epsilon = stack.setting("epsilon")
    names = tuple(vector.expert for vector in stack.vectors)

    def count() -> tuple[float, ...]:
        tensors = zip(*(vector.model() for vector in stack.vectors), strict=True)
        counts = [_counts(vectors, epsilon) for vectors in tensors]
        return tuple(sum(numbers) for numbers in zip(*counts, strict=True))

    key = ("shared and unique", names, epsilon)
    return _amplified(stack, stack.vectors[0].cache.numbers(key, count))


def _shared_and_unique(stack: Stack, amplification: Sequence[float]) -> Factors:
    epsilon = stack.setting("epsilon")
    pairs = list(zip(stack.coefficients, amplification, strict=True))

    def at(span: slice) -> list[Tensor]:
        changes = [(chunk.abs() > epsilon).float() for chunk in stack.chunks(span)]
        count = add(changes)
        share = 1.0 / count.clamp_min(1.0)
        unique = (count == 1.0).float()
        return [
            change * share * (1.0 + unique * (factor - 1.0)) * coefficient
            for change, (coefficient, factor) in zip(changes, pairs, strict=True)
        ]

    return at


def _amplified(stack: Stack, counts: Sequence[float]) -> Factors:
    """`counts` are the shared entries of each expert, then the unique ones of each."""
    n = len(stack.vectors)
    r, alpha = stack.setting("r"), stack.setting("alpha")
    ratios = (
        shared / unique if unique else shared * float("inf") if shared else 0.0
        for shared, unique in zip(counts[:n], counts[n:], strict=True)
    )
    return _shared_and_unique(stack, [1.0 + r * min(ratio, alpha) for ratio in ratios])


def _counts(vectors: Sequence[ExpertVector], epsilon: float) -> tuple[float, ...]:
    """How many entries of a tensor each expert shares, then how many it alone changes."""
    n_shared, n_unique = torch.zeros(2, len(vectors), dtype=torch.int64)
    for chunks in zip(*(vector.over_chunks(vector.chunk) for vector in vectors), strict=True):
        changes = torch.stack(chunks).abs_() > epsilon  # (N, span)
        count = changes.sum(0)
        n_shared += (changes & (count > 1)).sum(1)
        n_unique += (changes & (count == 1)).sum(1)
    return (*n_shared.tolist(), *n_unique.tolist())
