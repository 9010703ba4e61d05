"""The stages of a method, run over a tensor chunk by chunk."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from evomerge.merge.plans import GroupPlan
from evomerge.merge.vectors import ExpertVector

_CHUNK_BYTES = 8 << 20
_LARGEST_CHUNK = 1 << 16
"""Entries of a chunk: 256 KiB in float32, so that a chunk's work stays in the processor's cache."""


def combined(
    plan: GroupPlan, vectors: Sequence[ExpertVector], spans: Sequence[slice]
) -> Iterator[tuple[slice, Tensor]]:
    """The stages of the plan's method from sparsify to combine, span by span.

    Args:
        plan: the method with the coefficients and settings of each vector.
        vectors: one a live expert, in the plan's order.
        spans: consecutive spans that cover the tensor.

    Yields:
        a span and the merged vector Δ on it, `(span,)` float32, the caller's to change.
    """
    method = plan.method
    kept = [method.sparsify(*pair) for pair in zip(vectors, plan.settings, strict=True)]
    for span in spans:
        contributions = [
            keep(span) * factor for keep, factor in zip(kept, plan.coefficients, strict=True)
        ]
        elected = method.elect(contributions)
        yield span, method.combine(contributions, plan.coefficients, elected)


def row_spans(shape: Sequence[int], n_largest: int) -> tuple[slice, ...]:
    """Consecutive slices of a flattened tensor: whole rows, where one fits into `n_largest`."""
    n = math.prod(shape)
    row = n // shape[0] if shape else 1
    step = n_largest // row * row if row <= n_largest else n_largest
    return tuple(slice(start, min(start + step, n)) for start in range(0, n, step))


def n_entries_of_chunk(n_experts: int) -> int:
    """How many entries of a tensor are worked on at once."""
    # In flight for each expert: vector, contribution, mask, weights; beside them a few sums.
    return min(_LARGEST_CHUNK, _CHUNK_BYTES // (4 * (4 * n_experts + 8)))
