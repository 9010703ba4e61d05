"""The k-th largest number of a stream of chunks, exactly, in two passes and constant memory.

float32 numbers of one sign order like their bit patterns read as integers. So a histogram of the
upper half of the patterns finds the bin of the answer, and one of the lower halves in this bin
finds the answer: radix selection, exact where a quantile sketch is not.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Chunks = Callable[[], Iterable[Tensor]]
"""Gives a stream anew at each call: 1-D chunks."""

_LOW_BITS = 16
_LOW_MASK = (1 << _LOW_BITS) - 1


def kth_largest_magnitude(chunks: Chunks, k: int) -> float:
    """The k-th largest |x| over all chunks; ties count as often as they occur.

    Args:
        chunks: the stream, float32.
        k: rank from 1 to the number of entries.

    Returns:
        A float32 value that occurs among the magnitudes.
    """
    found = _selected(
        lambda: (x.abs().view(torch.int32) for x in chunks()), [k], highs=(0, 1 << 15)
    )
    return _number(found[0])


def kth_largest(chunks: Chunks, ranks: Sequence[int]) -> tuple[float, ...]:
    """The k-th largest x over all chunks, with its sign, for each k of `ranks`.

    Args:
        chunks: the stream, float32.
        ranks: each from 1 to the number of entries; ties count as often as they occur.

    Returns:
        float32 values that occur in the stream.
    """
    highs = (-(1 << 15), 1 << 15)
    found = _selected(lambda: (_turned(x.view(torch.int32)) for x in chunks()), ranks, highs=highs)
    return tuple(
        _number(int(_turned(torch.tensor(pattern, dtype=torch.int32)))) for pattern in found
    )


def _selected(patterns: Chunks, ranks: Sequence[int], *, highs: tuple[int, int]) -> list[int]:
    """The integer of each rank from the top, their upper halves being in the range `highs`."""
    start, stop = highs
    counts = torch.zeros(stop - start, dtype=torch.int64)
    for chunk in patterns():
        upper = chunk >> _LOW_BITS
        counts += torch.bincount(upper if start == 0 else upper - start, minlength=stop - start)
    places = [_bin_of_rank(counts, rank) for rank in ranks]
    lower = {high: torch.zeros(1 << _LOW_BITS, dtype=torch.int64) for high, _ in places}
    for chunk in patterns():
        upper = chunk >> _LOW_BITS
        for high, lower_counts in lower.items():
            inside = chunk[upper == high + start] & _LOW_MASK
            lower_counts += torch.bincount(inside, minlength=1 << _LOW_BITS)
    return [
        ((high + start) << _LOW_BITS) | _bin_of_rank(lower[high], rank)[0] for high, rank in places
    ]


def _bin_of_rank(counts: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the entry of this rank from the top, and its rank within the bin."""
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return len(counts) - 1 - position, rank - above


def _turned(patterns: Tensor) -> Tensor:
    """Reverse the order of the negative ones, as that of negative numbers is; its own inverse."""
    return torch.where(patterns < 0, patterns ^ 0x7FFFFFFF, patterns)


def _number(pattern: int) -> float:
    return torch.tensor(pattern, dtype=torch.int32).view(torch.float32).item()
