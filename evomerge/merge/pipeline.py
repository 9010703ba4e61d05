"""The stages of a method, run over a tensor chunk by chunk."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from evomerge.merge.groups import is_matrix
from evomerge.merge.plans import GroupPlan
from evomerge.merge.stages.elect import everyone
from evomerge.merge.stages.kinds import Factor, Matrix, Moves, Post, Stack
from evomerge.merge.vectors import ExpertVector

_CHUNK_BYTES = 8 << 20
_LARGEST_CHUNK = 1 << 16
"""Entries of a chunk: 256 KiB in float32, so that a chunk's work stays in the processor's cache."""


def combined(
    plan: GroupPlan, vectors: Sequence[ExpertVector], spans: Sequence[slice]
) -> Iterator[tuple[slice, Tensor]]:
    """The stages of the plan's method from sparsify to post, span by span.

    Args:
        plan: the method with the coefficients and settings of each vector.
        vectors: one a live expert, in the plan's order.
        spans: consecutive spans that cover the tensor.

    Yields:
        a span and the merged vector Δ on it, `(span,)` float32, the caller's to change.
    """
    method = plan.method
    if method.matrix is not None and is_matrix(vectors[0].tensor, vectors[0].shape):
        stack = Stack(vectors, plan.coefficients, plan.settings)
        yield from _whole(method.matrix, method.post, stack, spans)
        return
    kept = [method.sparsify(*pair) for pair in zip(vectors, plan.settings, strict=True)]
    stack = Stack(vectors, plan.coefficients, plan.settings)
    factors_on = method.weigh(stack)
    finish = method.post(stack) if method.post else None
    for span in spans:
        chunks = [keep(span) for keep in kept]
        factors = factors_on(span)
        values = _scaled(chunks, factors)
        elected = []
        if method.elect is not everyone:
            # Experts vote with their coefficients, whatever else weighs them.
            is_given = factors is plan.coefficients
            elected = method.elect(values if is_given else _scaled(chunks, plan.coefficients))
        delta = method.combine(Moves(values, factors, plan.coefficients, elected))
        yield span, finish(span, delta) if finish else delta


def _whole(
    matrix: Matrix, post: Post | None, stack: Stack, spans: Sequence[slice]
) -> Iterator[tuple[slice, Tensor]]:
    """As `combined`, for the methods that merge matrices as a whole."""
    finish = post(stack) if post else None
    delta = matrix(stack)
    for span in spans:
        yield span, finish(span, delta[span]) if finish else delta[span]


def _scaled(chunks: Sequence[Tensor], factors: Sequence[Factor]) -> list[Tensor]:
    return [chunk * factor for chunk, factor in zip(chunks, factors, strict=True)]


def row_spans(shape: Sequence[int], n_largest: int) -> tuple[slice, ...]:
    """Consecutive slices of a flattened tensor: whole rows, where one fits into `n_largest`."""
    n = math.prod(shape)
    row = n // shape[0] if shape else 1
    step = n_largest // row * row if row <= n_largest else n_largest
    return tuple(slice(start, min(start + step, n)) for start in range(0, n, step))


def n_entries_of_chunk(n_experts: int) -> int:
    """How many entries of a tensor are worked on at once."""
    # In flight for each expert: vector, factor, value, vote, mask, size; beside them a few sums.
    return min(_LARGEST_CHUNK, _CHUNK_BYTES // (4 * (6 * n_experts + 8)))
