"""The stages of a method, run over a tensor: chunk by chunk, or as a whole where they need it."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from evomerge.merge.elementwise import merged_elementwise
from evomerge.merge.groups import is_matrix
from evomerge.merge.plans import GroupPlan
from evomerge.merge.stages.kinds import Post, Stack, Whole
from evomerge.merge.vectors import ExpertVector

_CHUNK_BYTES = 8 << 20
_LARGEST_CHUNK = 1 << 16
"""Entries of a chunk: 256 KiB in float32, so that a chunk's work stays in the processor's cache."""


Merged = Iterator[tuple[slice, Tensor]]
"""A span and the values on it, `(span,)` float32, the caller's to change."""


def combined(plan: GroupPlan, vectors: Sequence[ExpertVector], spans: Sequence[slice]) -> Merged:
    """The stages of the plan's method from sparsify to post, span by span.

    Args:
        plan: the method with the coefficients and settings of each vector.
        vectors: one a live expert, in the plan's order.
        spans: consecutive spans that cover the tensor.
    """
    method = plan.method
    stack = Stack(vectors, plan.coefficients, plan.settings)
    if method.matrix is not None and _is_matrix(stack):
        return _cut(method.matrix(stack), spans)
    return merged_elementwise(method, stack, spans)


def followed(
    plan: GroupPlan, vectors: Sequence[ExpertVector], merged: Merged, spans: Sequence[slice]
) -> Merged:
    """The stages behind the method's name, each run on what the one before it gives.

    Args:
        plan: the method with the coefficients and settings of each vector.
        vectors: the task vectors, one a live expert, in the plan's order.
        merged: the Δ of the method itself on these spans.
        spans: consecutive spans that cover the tensor.
    """
    stack = Stack(vectors, plan.coefficients, plan.settings)
    for after in plan.method.after:
        if after.only_matrices and not _is_matrix(stack):
            continue
        if after.stage is not None:
            merged = _finished(after.stage, stack, merged)
        if after.whole is not None:
            merged = _finished_whole(after.whole, stack, merged, spans)
    return merged


def _is_matrix(stack: Stack) -> bool:
    return is_matrix(stack.vectors[0].tensor, stack.shape)


def _finished(stage: Post, stack: Stack, merged: Merged) -> Merged:
    finish = stage(stack)
    return ((span, finish(span, delta)) for span, delta in merged)


def _finished_whole(whole: Whole, stack: Stack, merged: Merged, spans: Sequence[slice]) -> Merged:
    delta = torch.empty(stack.n)
    for span, values in merged:
        delta[span] = values
    return _cut(whole(stack, delta), spans)


def _cut(delta: Tensor, spans: Sequence[slice]) -> Merged:
    return ((span, delta[span]) for span in spans)


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
