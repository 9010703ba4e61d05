"""The magnitude of a rank, exactly: a sketch gives its bin, one pass over the data the rest.

A sketch counts the magnitudes of a vector by the upper bits of their float32 patterns, which are
ordered as the magnitudes are. It has as many bins as 5 % of the expert's stored bytes have room
for, between the least magnitude that is not 0 and the greatest. Changes of models in bfloat16 are a
few units in the last place, so that most bins hold a single magnitude or nearly so: the sketch
knows one of each bin, and it takes little to see whether it is the one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evomerge.merge.fused.codes import FLOAT32
from evomerge.merge.fused.kernels import (
    SEVERAL,
    count_beside,
    count_magnitudes,
    extent_of_magnitudes,
)

_DIGIT = 16
"""Bits of a pattern that one pass finds out at most."""


@dataclass(frozen=True)
class Sketch:
    """The counts of a vector's magnitudes, summed up from the largest.

    Args:
        lowest: the least pattern that is counted.
        shift: a bin is 2^shift patterns wide.
        from_top: `(n_bins,)` how many entries are in the last bin, the last two, and so on.
        only: `(n_bins,)` a pattern in each bin, marked by `SEVERAL` if there are others.
    """

    lowest: int
    shift: int
    from_top: NDArray[np.uint32]
    only: NDArray[np.uint32]

    def find(self, rank: int) -> tuple[int, int, int] | None:
        """The bin of a rank: its only pattern, its least, the rank within; None where it is 0."""
        position = int(np.searchsorted(self.from_top, rank))
        if position == len(self.from_top):
            return None
        above = int(self.from_top[position - 1]) if position else 0
        n_below = len(self.from_top) - 1 - position
        return int(self.only[n_below]), self.lowest + (n_below << self.shift), rank - above


class Sketches:
    """The sketches of a model's vectors, made when first needed."""

    def __init__(self) -> None:
        self._sketches: dict[object, Sketch] = {}
        self._found: dict[object, dict[int, float]] = {}

    @property
    def n_bytes(self) -> int:
        """Memory held by the sketches."""
        return sum(
            sketch.from_top.nbytes + sketch.only.nbytes for sketch in self._sketches.values()
        )

    def magnitudes(
        self, key: object, places: NDArray[np.int64], n: int, ranks: Iterable[int]
    ) -> dict[int, float]:
        """The k-th largest magnitude of a vector for each rank k; ties count as they occur.

        Args:
            key: what tells the vector from all others.
            places: `(2, 2)` where base and expert lie, see `kernels.count_magnitudes`.
            n: the number of entries.
            ranks: each from 1 to `n`.
        """
        ranks = set(ranks)
        found = self._found.get(key, {})
        if not ranks <= found.keys():
            if key not in self._sketches:
                self._sketches[key] = _sketch(places, n)
            found = {
                rank: found[rank] if rank in found else _exact(self._sketches[key], places, n, rank)
                for rank in ranks
            }
            self._found[key] = found
        return found


def _sketch(places: NDArray[np.int64], n: int) -> Sketch:
    n_bytes = n * (4 if places[1, 1] == FLOAT32 else 2)
    n_bins = max(n_bytes // 20 // (2 * np.dtype(np.uint32).itemsize), 1)
    least, greatest = (int(pattern) for pattern in extent_of_magnitudes(places, 0, n))
    extent = max(greatest - least, 0)
    shift = max((extent // n_bins).bit_length(), 0)
    return _counted(places, n, lowest=least, shift=shift, n_bins=(extent >> shift) + 1)


def _counted(places: NDArray[np.int64], n: int, *, lowest: int, shift: int, n_bins: int) -> Sketch:
    counts, only = np.zeros(n_bins + 1, np.uint32), np.zeros(n_bins + 1, np.uint32)
    count_magnitudes(places, np.uint32(lowest), shift, counts, only, 0, n)
    return Sketch(lowest, shift, np.cumsum(counts[-2::-1], dtype=np.uint32), only[:-1])


def _exact(sketch: Sketch, places: NDArray[np.int64], n: int, rank: int) -> float:
    found = sketch.find(rank)
    if found is None:
        return 0.0
    only, _, _ = found
    if only & int(SEVERAL):
        only &= ~int(SEVERAL)
        n_larger, n_equal = count_beside(places, np.uint32(only), 0, n)
        if not n_larger < rank <= n_larger + n_equal:
            return _counted_out(sketch, places, n, rank)
    return float(np.uint32(only).view(np.float32))


def _counted_out(sketch: Sketch, places: NDArray[np.int64], n: int, rank: int) -> float:
    """The magnitude of a rank, by counting those of its bin in ever finer ones."""
    while True:
        found = sketch.find(rank)
        if found is None:
            return 0.0
        only, lowest, rank = found
        if not only & int(SEVERAL):
            return float(np.uint32(only).view(np.float32))
        shift = max(sketch.shift - _DIGIT, 0)
        n_bins = 1 << (sketch.shift - shift)
        sketch = _counted(places, n, lowest=lowest, shift=shift, n_bins=n_bins)
