"""The k-th largest magnitude of a stream of chunks, exactly, in two passes and constant memory."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_LOW_BITS = 16


def kth_largest_magnitude(chunks: Callable[[], Iterable[Tensor]], k: int) -> float:
    """The k-th largest |x| over all chunks; ties count as often as they occur.

    Magnitudes of float32 order like their bit patterns read as integers, so a histogram of the
    upper half of the patterns finds the bin of the answer and one of the lower halves in this bin
    finds the answer: radix selection, exact where a quantile sketch is not.

    Args:
        chunks: gives the stream anew at each call: 1-D float32 chunks.
        k: rank from 1 to the number of entries.

    Returns:
        A float32 value that occurs among the magnitudes.
    """
    high, rank = _bin_of_rank((_patterns(x) >> _LOW_BITS for x in chunks()), k, n_bins=1 << 15)
    lower_halves = (_lower_halves(_patterns(x), high) for x in chunks())
    low, _ = _bin_of_rank(lower_halves, rank, n_bins=1 << _LOW_BITS)
    pattern = torch.tensor((high << _LOW_BITS) | low, dtype=torch.int32)
    return pattern.view(torch.float32).item()


def _patterns(chunk: Tensor) -> Tensor:
    return chunk.abs().view(torch.int32)


def _lower_halves(patterns: Tensor, high: int) -> Tensor:
    return patterns[patterns >> _LOW_BITS == high] & ((1 << _LOW_BITS) - 1)


def _bin_of_rank(values: Iterable[Tensor], rank: int, *, n_bins: int) -> tuple[int, int]:
    """The bin that holds the entry of this rank from the top, and its rank within the bin."""
    counts = torch.zeros(n_bins, dtype=torch.int64)
    for value in values:
        counts += torch.bincount(value, minlength=n_bins)
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return n_bins - 1 - position, rank - above
