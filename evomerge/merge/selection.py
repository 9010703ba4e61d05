"""The k-th largest number of a stream of chunks, exactly, in two passes and constant memory."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Chunks = Callable[[], Iterable[Tensor]]
"""Gives a stream anew at each call: 1-D float32 chunks."""

_LOW_BITS = 16
_LOW_MASK = (1 << _LOW_BITS) - 1


def kth_largest_magnitude(chunks: Chunks, k: int) -> float:
    """The k-th largest |x| over all chunks; ties count as often as they occur.

    Args:
        chunks: the stream.
        k: rank from 1 to the number of entries.

    Returns:
        A float32 value that occurs among the magnitudes.
    """
    return kth_largest(lambda: (chunk.abs() for chunk in chunks()), k)


def kth_largest(chunks: Chunks, k: int) -> float:
    """The k-th largest x over all chunks, with its sign; ties count as often as they occur.

    float32 numbers order like their bit patterns read as integers, once those of negative numbers
    are turned around. So a histogram of the upper half of the patterns finds the bin of the answer,
    and one of the lower halves in this bin finds the answer: radix selection, exact where a
    quantile sketch is not.

    Args:
        chunks: the stream.
        k: rank from 1 to the number of entries.

    Returns:
        A float32 value that occurs in the stream.
    """
    offset = 1 << 15  # of the upper halves, which are signed
    upper_halves = ((_patterns(chunk) >> _LOW_BITS) + offset for chunk in chunks())
    high, rank = _bin_of_rank(upper_halves, k)
    high -= offset
    lower_halves = (_lower_halves(_patterns(chunk), high) for chunk in chunks())
    low, _ = _bin_of_rank(lower_halves, rank)
    pattern = torch.tensor((high << _LOW_BITS) | low, dtype=torch.int32)
    return _turned(pattern).view(torch.float32).item()


def _patterns(chunk: Tensor) -> Tensor:
    """Integers in the order of the numbers."""
    return _turned(chunk.view(torch.int32))


def _turned(patterns: Tensor) -> Tensor:
    """Reverse the order of the negative ones; its own inverse."""
    return torch.where(patterns < 0, patterns ^ 0x7FFFFFFF, patterns)


def _lower_halves(patterns: Tensor, high: int) -> Tensor:
    return patterns[patterns >> _LOW_BITS == high] & _LOW_MASK


def _bin_of_rank(values: Iterable[Tensor], rank: int) -> tuple[int, int]:
    """The bin that holds the entry of this rank from the top, and its rank within the bin."""
    n_bins = 1 << 16
    counts = torch.zeros(n_bins, dtype=torch.int64)
    for value in values:
        counts += torch.bincount(value, minlength=n_bins)
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return n_bins - 1 - position, rank - above
