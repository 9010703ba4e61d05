"""Sums over a whole tensor, its rows or its columns, in float64 and constant memory.

They are taken in blocks that depend on the tensor's shape alone and are too small for torch to
share among threads, so that no sum depends on how a merge cuts its tensors or where it runs.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Values = Callable[[slice], Tensor]
"""Gives the terms on a span of the flat tensor, `(span,)`."""

_BLOCK = 1 << 14


def row_length(shape: Sequence[int]) -> int:
    """The length of the last dimension; 1 for a scalar."""
    return shape[-1] if shape else 1


def total(shape: Sequence[int], values: Values) -> float:
    """The sum of all terms."""
    n = math.prod(shape)
    return math.fsum(values(span).double().sum().item() for span in _pieces(0, n))


def row_sums(shape: Sequence[int], values: Values) -> Tensor:
    """The sum of each row, that is over the last dimension: `(n_rows,)` float64."""
    n, row = math.prod(shape), row_length(shape)
    sums = torch.zeros(n // row, dtype=torch.float64)
    for span in _row_blocks(0, n, row):
        first = span.start // row
        terms = values(span).double()
        if len(terms) % row:  # a piece of a long row
            sums[first] += terms.sum()
        else:
            sums[first : first + len(terms) // row] += terms.view(-1, row).sum(1)
    return sums


def column_sums(shape: Sequence[int], values: Values) -> Tensor:
    """The sum of each column, that is over the last dimension but one.

    Args:
        shape: of two dimensions or more; those before the last two count matrices.
        values: the terms.

    Returns:
        `(n_matrices, row)` float64.
    """
    *n_matrices, n_rows, row = shape
    sums = torch.zeros(math.prod(n_matrices), row, dtype=torch.float64)
    for matrix, column_sum in enumerate(sums):
        start = matrix * n_rows * row
        for span in _row_blocks(start, start + n_rows * row, row):
            terms = values(span).double()
            if len(terms) % row:
                column = span.start % row
                column_sum[column : column + len(terms)] += terms
            else:
                column_sum += terms.view(-1, row).sum(0)
    return sums


def _row_blocks(start: int, stop: int, row: int) -> Iterator[slice]:
    """Blocks of whole rows, or of pieces of a row where one does not fit into a block."""
    if row <= _BLOCK:
        yield from _pieces(start, stop, _BLOCK // row * row)
    else:
        for first in range(start, stop, row):
            yield from _pieces(first, first + row)


def _pieces(start: int, stop: int, size: int = _BLOCK) -> Iterator[slice]:
    return (slice(first, min(first + size, stop)) for first in range(start, stop, size))
