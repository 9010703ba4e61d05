"""Compiled loops: the stages of common methods, from stored bits to stored bits.

A span of a tensor is merged block by block; a block is so small that all that is computed on it
stays in the processor's first cache. Where entries are ranked in their rows, a few rows are before
their blocks are merged. Each stage is that of `merge.stages`, operation for operation
in float32, so that bits agree: both round after every operation, and nothing is fused or reordered.
Tensors are known by the address of their first entry and the code of their dtype, so that one
compilation serves all dtypes; bfloat16 and float16 are integers to the compiler.

All is in one file because the compiled code is kept on disk until the file of its function changes,
whatever happens to the functions that it calls.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from evomerge.merge.fused.codes import (
    BFLOAT16,
    CHANGED,
    EVERYONE,
    FLOAT16,
    FLOAT32,
    KEEP_BAND,
    KEEP_BY_RANK,
    KEEP_RANDOM,
    MEAN_OF_ELECTED,
    RATIO_OF_ELECTED,
    SIGN_OF_SUM_OR_PLUS,
)
from evomerge.merge.random_bits import N_VALUES

Floats = NDArray[np.float32]
Patterns = NDArray[np.uint32]

_BLOCK = 960
_ROW = _BLOCK + 48
"""Entries from one block to the next: at a power of two, loads would wait for earlier stores."""

_PIECE = 512
_ZERO, _ONE, _NOTHING = np.float32(0.0), np.float32(1.0), np.float32(-1.0)
_TINY = np.float32(np.finfo(np.float32).tiny)

_SIGN = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
# The patterns of the smallest magnitudes that round to infinity.
_TOO_LARGE = (np.uint32(0x7F7F8000), np.uint32(0x477FF000), np.uint32(0x7F800000))
SEVERAL = _SIGN
"""Marks the pattern of a bin that has others too; no magnitude has this bit."""

_N_VALUES = np.float32(N_VALUES)

_STRETCH = 4096
"""Entries of the rows that are ranked before they are merged, where rows are short."""
_DIGIT = 11
"""Bits by which entries are sorted at a time, at most."""

_LEAST_NORMAL = np.float32(2.0**-14)  # of float16
_HALF = np.float32(0.5)
_BEYOND, _INFINITY = np.float32(65536.0), np.float32(np.inf)


@intrinsic
def _pointer(typing: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to entries of the dtype `like`."""
    pointer = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, like), generate


@intrinsic
def pattern_of(typing: Any, number: Any) -> Any:
    """The bits of a float32 as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def number_of(typing: Any, pattern: Any) -> Any:
    """The float32 of these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def where(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """`yes` or `no`, both computed: a branch would keep a loop from being vectorised."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.select(*arguments)

    return yes(types.boolean, yes, yes), generate


@intrinsic
def _nearest_whole(typing: Any, number: Any) -> Any:
    """A float32 rounded to a whole number, to nearest, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> ir.Value:
        return builder.call(
            builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), arguments
        )

    return types.float32(types.float32), generate


@njit(nogil=True)
def _halves(address: int, start: int, n: int) -> NDArray[np.uint16]:
    return carray(_pointer(address + 2 * start, np.uint16), n)


@njit(nogil=True)
def _singles(address: int, start: int, n: int) -> Floats:
    return carray(_pointer(address + 4 * start, np.float32), n)


@njit(nogil=True)
def read(address: int, code: int, start: int, block: Floats) -> None:
    """Fill a block with the entries of a tensor from `start` on, widened."""
    if code == FLOAT32:
        numbers = _singles(address, start, block.size)
        for i in range(block.size):
            block[i] = numbers[i]
    elif code == BFLOAT16:
        bits = block.view(np.uint32)
        stored = _halves(address, start, block.size)
        for i in range(block.size):
            bits[i] = np.uint32(stored[i]) << np.uint32(16)
    else:
        stored = _halves(address, start, block.size)
        for i in range(block.size):
            block[i] = _widened(np.uint32(stored[i]))


@njit(nogil=True)
def round_to(code: int, block: Floats) -> bool:
    """Round a block to the numbers that a dtype has, to nearest, ties to even.

    Returns:
        whether all are finite; the others are not to be relied on.
    """
    bits = block.view(np.uint32)
    largest = np.uint32(0)
    if code == BFLOAT16:
        for i in range(block.size):
            largest = max(largest, bits[i] & _MAGNITUDE)
            bits[i] = _rounded(bits[i], np.uint32(16))
    else:
        for i in range(block.size):
            largest = max(largest, bits[i] & _MAGNITUDE)
        if code == FLOAT16:
            for i in range(block.size):
                block[i] = _to_float16(block[i])
    return bool(largest < _TOO_LARGE[code])


@njit(nogil=True)
def write(address: int, code: int, start: int, block: Floats) -> None:
    """Store a block of numbers that the dtype has as the entries of a tensor from `start` on."""
    if code == FLOAT32:
        numbers = _singles(address, start, block.size)
        for i in range(block.size):
            numbers[i] = block[i]
        return
    bits = block.view(np.uint32)
    stored = _halves(address, start, block.size)
    if code == BFLOAT16:
        for i in range(block.size):
            stored[i] = np.uint16(bits[i] >> np.uint32(16))
    else:
        for i in range(block.size):
            stored[i] = _narrowed(block[i])


@njit(nogil=True)
def _rounded(bits: np.uint32, n_dropped: np.uint32) -> np.uint32:
    """The pattern of a float32 rounded to one whose last bits are 0."""
    last = np.uint32(bits >> n_dropped) & np.uint32(1)
    below_half = np.uint32(np.uint32(1) << np.uint32(n_dropped - np.uint32(1))) - np.uint32(1)
    return np.uint32(np.uint32(bits + last + below_half) >> n_dropped << n_dropped)


@njit(nogil=True)
def _widened(half: np.uint32) -> np.float32:
    """A float16's pattern as the float32 of the same value."""
    shifted = number_of((half & np.uint32(0x7FFF)) << np.uint32(13))
    # The exponents are 112 apart; the product also makes float16's subnormals normal.
    size = np.float32(shifted * np.float32(2.0**112))
    size = where(size >= _BEYOND, _INFINITY, size)
    return where((half & np.uint32(0x8000)) != 0, -size, size)


@njit(nogil=True)
def _to_float16(value: np.float32) -> np.float32:
    """The nearest float16 as a float32."""
    size = abs(value)
    # A float16 below 2⁻¹⁴ is a multiple of 2⁻²⁴, as is a float32 from 1/2 to 1.
    small = np.float32(size + _HALF) - _HALF
    normal = number_of(_rounded(pattern_of(size), np.uint32(13)))
    nearest = where(size < _LEAST_NORMAL, small, normal)
    nearest = where(nearest >= _BEYOND, _INFINITY, nearest)
    return where((pattern_of(value) & _SIGN) != 0, -nearest, nearest)


@njit(nogil=True)
def _narrowed(value: np.float32) -> np.uint16:
    """The pattern in float16 of a number that float16 has."""
    size = abs(value)
    normal = (pattern_of(size) >> np.uint32(13)) - np.uint32(112 << 10)
    small = np.uint32(size * np.float32(2.0**24))
    pattern = where(size < _LEAST_NORMAL, small, np.uint32(normal))
    pattern = where(size >= _BEYOND, np.uint32(0x7C00), pattern)
    return np.uint16(pattern | ((pattern_of(value) & _SIGN) >> np.uint32(16)))


@njit(nogil=True)
def _take_halves(
    address: int, start: int, base: Floats, below: Any, most: Any, factor: Any, value: Floats
) -> None:
    """As `_take`, of a tensor in bfloat16."""
    stored = _halves(address, start, value.size)
    for i in range(value.size):
        moved = number_of(np.uint32(stored[i]) << np.uint32(16)) - base[i]
        size = abs(moved)
        trimmed = where(size <= below, _ZERO, moved)
        value[i] = where(size > most, _ZERO, trimmed) * factor


@njit(nogil=True)
def _take(vector: Floats, base: Floats, below: Any, most: Any, factor: Any, value: Floats) -> None:
    """The vector less the base, 0 where its magnitude is at most `below` or more than `most`.

    Not in place: the masked stores that this compiles to are very slow on some processors.
    """
    for i in range(value.size):
        moved = vector[i] - base[i]
        size = abs(moved)
        trimmed = where(size <= below, _ZERO, moved)
        value[i] = where(size > most, _ZERO, trimmed) * factor


@njit(nogil=True)
def _keep_random(
    block: Floats, first: np.uint32, second: np.uint32, n_kept: np.uint32, rescale: Any, factor: Any
) -> None:
    """Multiply by `rescale` where the random bits are below `n_kept`, by 0 elsewhere; by `factor`.

    The bits are those of `random_bits`; `first` is the first half of the key plus the index.
    """
    for i in range(block.size):
        is_kept = _random_bits(np.uint32(first + np.uint32(i)), second) < n_kept
        block[i] = block[i] * where(is_kept, rescale, _ZERO) * factor


@njit(nogil=True)
def _keep_by_rank(
    block: Floats,
    ranks: Floats,
    first: np.uint32,
    second: np.uint32,
    lowest: np.float32,
    step: np.float32,
    factor: np.float32,
) -> None:
    """As `_keep_random`, kept with probability lowest + step · rank and divided by it."""
    for i in range(block.size):
        probability = ranks[i] * step + lowest
        n_kept = _nearest_whole(probability * _N_VALUES)
        bits = np.float32(np.int32(_random_bits(np.uint32(first + np.uint32(i)), second)))
        rescale = _N_VALUES / max(n_kept, _ONE)
        block[i] = block[i] * where(bits < n_kept, rescale, _ZERO) * factor


@njit(nogil=True)
def _random_bits(x: np.uint32, second: np.uint32) -> np.uint32:
    """The hash of the first half of the key plus the index, see `random_bits`."""
    x = np.uint32(x ^ np.uint32(x >> np.uint32(17)))
    x = np.uint32(x * np.uint32(0xED5AD4BB))
    x = np.uint32(x ^ second)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(11)))
    x = np.uint32(x * np.uint32(0xAC4C1B51))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x31848BAB))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(14)))
    return np.uint32(x >> np.uint32(8))


@njit(nogil=True)
def _rank_rows(
    base: NDArray[np.int64],
    expert: NDArray[np.int64],
    start: int,
    row: int,
    spares: Floats,
    counts: Patterns,
    ranks: Floats,
) -> None:
    """The place of each entry of a vector by magnitude in its row, the earlier of equals first.

    Args:
        base: address and dtype, as in `merge_span`.
        expert: likewise.
        start: the first entry, where a row starts.
        row: the length of a row.
        spares: `(4, row)` scratch.
        counts: `(4, 2^_DIGIT)` scratch.
        ranks: is filled; its length is a multiple of `row`.
    """
    for first in range(0, ranks.size, row):
        vector, subtracted = spares[0][:row], spares[1][:row]
        read(expert[0], expert[1], start + first, vector)
        if base[0]:
            read(base[0], base[1], start + first, subtracted)
            for i in range(row):
                vector[i] -= subtracted[i]
        _rank(
            vector.view(np.uint32), spares[1:].view(np.uint32), counts, ranks[first : first + row]
        )


@njit(nogil=True)
def _rank(patterns: Patterns, spares: Patterns, counts: Patterns, ranks: Floats) -> None:
    """As `_rank_rows`, of one row: a radix sort by the bits in which its magnitudes differ.

    Args:
        patterns: of float32 numbers.
        spares: `(3, row)` scratch.
        counts: `(4, 2^_DIGIT)` scratch.
        ranks: is filled.
    """
    keys, order, other = spares[0], spares[1], spares[2]
    n_bits = _make_keys(patterns, keys)
    n_digits = max((n_bits + _DIGIT - 1) // _DIGIT, 1)
    width = (n_bits + n_digits - 1) // n_digits
    places = counts[:, : 1 << width]
    for digit in range(0, n_digits, 2):
        _find_places(keys, digit * width, width, places[digit], places[digit + 1])
    for i in range(keys.size):
        order[i] = np.uint32(i)
    for digit in range(n_digits - 1):
        _sort(keys, digit * width, places[digit], order, other)
        order, other = other, order
    _number(keys, (n_digits - 1) * width, places[n_digits - 1], order, ranks)


@njit(nogil=True)
def _make_keys(patterns: Patterns, keys: Patterns) -> int:
    """Small integers in the order of the magnitudes; how many bits they have."""
    least, greatest, together = _MAGNITUDE, np.uint32(0), np.uint32(0)
    for i in range(keys.size):
        size = np.uint32(patterns[i] & _MAGNITUDE)
        greatest = max(greatest, size)
        together |= size
        least = min(least, where(size == np.uint32(0), _MAGNITUDE, size))
    n_zeros = np.uint32(0)
    while n_zeros < np.uint32(31) and not (together >> n_zeros) & np.uint32(1):
        n_zeros += np.uint32(1)
    # Zero gets the key 0 and the least other magnitude the key 1.
    below = np.uint32((least >> n_zeros) - np.uint32(1))
    for i in range(keys.size):
        size = np.uint32(np.uint32(patterns[i] & _MAGNITUDE) >> n_zeros)
        keys[i] = np.uint32(max(size, below) - below)
    n_bits, extent = 0, np.uint32((greatest >> n_zeros) - below)
    while greatest and extent >> np.uint32(n_bits):
        n_bits += 1
    return n_bits


@njit(nogil=True)
def _find_places(keys: Patterns, shift: int, width: int, lower: Patterns, upper: Patterns) -> None:
    """Where the entries of each value of a digit start in their order by it, of two digits.

    They are counted together: counting one is mostly waiting where neighbours have the same digit.
    """
    last = np.uint32(lower.size - 1)
    for j in range(lower.size):
        lower[j], upper[j] = np.uint32(0), np.uint32(0)
    for i in range(keys.size):
        key = keys[i] >> np.uint32(shift)
        lower[key & last] += np.uint32(1)
        upper[(key >> np.uint32(width)) & last] += np.uint32(1)
    below, before = np.uint32(0), np.uint32(0)
    for j in range(lower.size):
        n_lower, n_upper = lower[j], upper[j]
        lower[j], upper[j] = below, before
        below += n_lower
        before += n_upper


@njit(nogil=True)
def _sort(
    keys: Patterns, shift: int, places: Patterns, order: Patterns, resorted: Patterns
) -> None:
    """Sort entries by a digit; equal ones stay in their order."""
    last = np.uint32(places.size - 1)
    for i in range(keys.size):
        entry = order[i]
        digit = (keys[entry] >> np.uint32(shift)) & last
        place = places[digit]
        places[digit] = place + np.uint32(1)
        resorted[place] = entry


@njit(nogil=True)
def _number(keys: Patterns, shift: int, places: Patterns, order: Patterns, ranks: Floats) -> None:
    """As `_sort`, with the place of each entry instead of the entry of each place."""
    last = np.uint32(places.size - 1)
    for i in range(keys.size):
        entry = order[i]
        digit = (keys[entry] >> np.uint32(shift)) & last
        place = places[digit]
        places[digit] = place + np.uint32(1)
        ranks[entry] = np.float32(np.int32(place))


@njit(nogil=True)
def _add_up(blocks: Floats, total: Floats) -> None:
    """The sum over the first dimension, one by one in their order."""
    first = blocks[0]
    for i in range(total.size):
        total[i] = first[i]
    for e in range(1, len(blocks)):
        other = blocks[e]
        for i in range(total.size):
            total[i] += other[i]


@njit(nogil=True)
def _take_sign(kind: int, total: Floats) -> None:
    """Make sums of votes 1, −1 or, where they cancel, what the election says."""
    none = _ONE if kind == SIGN_OF_SUM_OR_PLUS else _ZERO
    for i in range(total.size):
        total[i] = where(total[i] > _ZERO, _ONE, where(total[i] < _ZERO, -_ONE, none))


@njit(nogil=True)
def _add_elected(
    value: Floats, sign: Floats, share: np.float32, delta: Floats, whole: Floats, before: Patterns
) -> None:
    """Add an expert where its value has the sign.

    `before` are the patterns of the largest |share| among those added before; with this one's they
    take the place of `value`. Not in place: masked stores, which it would compile to, are slow.
    """
    size = pattern_of(abs(share))
    most = value.view(np.uint32)
    for i in range(delta.size):
        takes_part = value[i] * sign[i] > _ZERO
        mask = where(takes_part, _ONE, _ZERO)
        delta[i] += value[i] * mask
        whole[i] += share * mask
        most[i] = max(before[i], where(takes_part, size, np.uint32(0)))


@njit(nogil=True)
def _combine(
    elect: int, combine: int, values: Floats, factors: Floats, spares: Floats, delta: Floats
) -> None:
    """One vector from those of the experts, `(n_experts, block)`, by election."""
    sign, whole = spares[0][: delta.size], spares[1][: delta.size]
    most = spares[2][: delta.size].view(np.uint32)
    _add_up(values, sign)
    _take_sign(elect, sign)
    # −0 + x is x, whatever the sign of x, even of 0.
    for i in range(delta.size):
        delta[i], whole[i], most[i] = -_ZERO, -_ZERO, np.uint32(0)
    for e in range(len(values)):
        share = factors[e] if combine == RATIO_OF_ELECTED else abs(factors[e])
        value = values[e][: delta.size]
        if elect == CHANGED:  # each expert votes alone
            for i in range(delta.size):
                sign[i] = value[i]
            _take_sign(elect, sign)
        _add_elected(value, sign, share, delta, whole, most)
        most = value.view(np.uint32)
    if combine == RATIO_OF_ELECTED:
        for i in range(delta.size):
            quotient = delta[i] / where(whole[i] == _ZERO, _ONE, whole[i])
            delta[i] = quotient * where(whole[i] == _ZERO, _ZERO, _ONE)
    elif combine == MEAN_OF_ELECTED:
        for i in range(delta.size):
            delta[i] *= number_of(most[i]) / where(whole[i] > _TINY, whole[i], _TINY)


@njit(nogil=True, cache=True)
def merge_span(
    places: NDArray[np.int64],
    sparsify: NDArray[np.int64],
    keys: Patterns,
    numbers: Floats,
    how: NDArray[np.int64],
    scale: np.float32,
    start: int,
    stop: int,
) -> bool:
    """Merge the entries from `start` to `stop` of one flat tensor.

    Args:
        places: `(2 + n_experts, 2)` address and dtype of the target, the base and the experts; a
            base whose address is 0 takes no part.
        sparsify: `(n_experts,)` codes.
        keys: `(n_experts, 2)` of the random bits.
        numbers: `(n_experts, 3)` factor, and two numbers that `sparsify` needs.
        how: codes of election, combination, and the dtype to round to first; the length of the rows
            in which entries are ranked, or 0. A span of ranked entries has whole rows.
        scale: of the combined vector.
        start: the first entry.
        stop: one after the last.

    Returns:
        whether all entries are finite; it stops at the first block with one that is not.
    """
    n_experts, row = len(sparsify), how[3]
    values = np.zeros((n_experts, _ROW), np.float32)
    spares = np.zeros((5, _ROW), np.float32)
    stretch = max(_STRETCH // row, 1) * row if row else stop - start
    ranks = np.empty((n_experts, stretch if row else 0), np.float32)
    sorting, counts = np.empty((4, row), np.float32), np.empty((4, 1 << _DIGIT), np.uint32)
    for first in range(start, stop, stretch):
        last = min(first + stretch, stop)
        for e in range(n_experts):
            if sparsify[e] == KEEP_BY_RANK:
                found = ranks[e][: last - first]
                _rank_rows(places[1], places[2 + e], first, row, sorting, counts, found)
        if not _merge_blocks(
            places, sparsify, keys, numbers, how, scale, ranks, values, spares, first, last
        ):
            return False
    return True


@njit(nogil=True)
def _merge_blocks(
    places: NDArray[np.int64],
    sparsify: NDArray[np.int64],
    keys: Patterns,
    numbers: Floats,
    how: NDArray[np.int64],
    scale: np.float32,
    ranks: Floats,
    values: Floats,
    spares: Floats,
    start: int,
    stop: int,
) -> bool:
    """As `merge_span`, which see, where `ranks` are known: `(n_experts, span)`, if any."""
    n_experts = len(sparsify)
    for first in range(start, stop, _BLOCK):
        n = min(_BLOCK, stop - first)
        base, delta = spares[3][:n], spares[4][:n]
        if places[1, 0]:
            read(places[1, 0], places[1, 1], first, base)
        for e in range(n_experts):
            value, factor = values[e][:n], numbers[e, 0]
            below, most = _NOTHING, _INFINITY
            if sparsify[e] == KEEP_BAND:
                below, most = numbers[e, 1], numbers[e, 2]
            before = _ONE if sparsify[e] in (KEEP_RANDOM, KEEP_BY_RANK) else factor
            if places[2 + e, 1] == BFLOAT16:
                _take_halves(places[2 + e, 0], first, base, below, most, before, value)
            else:
                read(places[2 + e, 0], places[2 + e, 1], first, spares[0][:n])
                _take(spares[0][:n], base, below, most, before, value)
            begin = np.uint32(keys[e, 0] + np.uint32(first))
            if sparsify[e] == KEEP_BY_RANK:
                places_in_row, line = ranks[e][first - start :][:n], numbers[e, 1:]
                _keep_by_rank(value, places_in_row, begin, keys[e, 1], line[0], line[1], factor)
            elif sparsify[e] == KEEP_RANDOM:
                n_kept = np.uint32(numbers[e, 1])
                _keep_random(value, begin, keys[e, 1], n_kept, numbers[e, 2], factor)
        if how[0] == EVERYONE:
            _add_up(values, delta)
        else:
            _combine(how[0], how[1], values, numbers[:, 0], spares, delta)
        if places[1, 0] and places[0, 1] == how[2] == BFLOAT16:
            if not _finish_halves(places[0, 0], first, base, scale, delta):
                return False
            continue
        for i in range(n):
            delta[i] *= scale
        if places[1, 0]:
            for i in range(n):
                delta[i] += base[i]
        if not round_to(how[2], delta):
            return False
        if places[0, 1] != FLOAT32 and places[0, 1] != how[2]:
            round_to(places[0, 1], delta)
        write(places[0, 0], places[0, 1], first, delta)
    return True


@njit(nogil=True)
def _finish_halves(address: int, start: int, base: Floats, scale: Any, delta: Floats) -> bool:
    """Store base + scale · delta in bfloat16; whether all of it is finite, as `round_to` tells."""
    stored = _halves(address, start, delta.size)
    largest = np.uint32(0)
    for i in range(delta.size):
        bits = pattern_of(delta[i] * scale + base[i])
        largest = max(largest, bits & _MAGNITUDE)
        stored[i] = np.uint16(_rounded(bits, np.uint32(16)) >> np.uint32(16))
    return bool(largest < _TOO_LARGE[BFLOAT16])


@njit(nogil=True)
def _read_vector(places: NDArray[np.int64], start: int, vector: Floats, base: Floats) -> None:
    """Fill a block with the entries of an expert's vector from `start` on; `base` is a spare."""
    read(places[1, 0], places[1, 1], start, vector)
    if places[0, 0]:
        read(places[0, 0], places[0, 1], start, base)
        for i in range(vector.size):
            vector[i] -= base[i]


@njit(nogil=True, cache=True)
def count_magnitudes(
    places: NDArray[np.int64],
    lowest: np.uint32,
    shift: int,
    counts: Patterns,
    only: Patterns,
    start: int,
    stop: int,
) -> None:
    """Add the magnitudes of a vector to a histogram of their patterns.

    Args:
        places: `(2, 2)` as in `merge_span`: base and expert.
        lowest: the least pattern of bin 0.
        shift: a bin is 2^shift patterns wide.
        counts: of each bin, and behind them of some that are in none; they are added to.
        only: of each bin of `counts`, the last pattern in it, plus `SEVERAL` where others are too.
        start: the first entry.
        stop: one after the last.
    """
    n_bins = np.uint32(len(counts) - 1)
    spares = np.empty((2, _PIECE), np.float32)
    bins = np.empty(_PIECE, np.uint32)
    for first in range(start, stop, _PIECE):
        vector = spares[0][: min(_PIECE, stop - first)]
        _read_vector(places, first, vector, spares[1][: vector.size])
        patterns = vector.view(np.uint32)
        least = n_bins
        for i in range(vector.size):
            # Smaller patterns wrap around to large ones.
            above = np.uint32(np.uint32(patterns[i] & _MAGNITUDE) - lowest)
            bins[i] = min(np.uint32(above >> np.uint32(shift)), n_bins)
            least = min(least, bins[i])
        if least < n_bins:
            for i in range(vector.size):
                count, pattern = counts[bins[i]], np.uint32(patterns[i] & _MAGNITUDE)
                before = where(count == np.uint32(0), pattern, only[bins[i]])
                others = where((before & _MAGNITUDE) == pattern, before & SEVERAL, SEVERAL)
                only[bins[i]] = pattern | others
                counts[bins[i]] = count + np.uint32(1)


@njit(nogil=True, cache=True)
def count_beside(
    places: NDArray[np.int64], pattern: np.uint32, start: int, stop: int
) -> tuple[int, int]:
    """How many magnitudes are larger than one, and how many are equal; places as above."""
    spares = np.empty((2, _ROW), np.float32)
    n_larger, n_equal = np.int64(0), np.int64(0)
    is_halves = places[0, 0] != 0 and places[0, 1] == places[1, 1] == BFLOAT16
    for first in range(start, stop, _BLOCK):
        n = min(_BLOCK, stop - first)
        if is_halves:
            beside = _count_halves(places[0, 0], places[1, 0], pattern, first, n)
        else:
            vector = spares[0][:n]
            _read_vector(places, first, vector, spares[1][:n])
            beside = _count(vector, pattern)
        n_larger += np.int64(beside[0])
        n_equal += np.int64(beside[1])
    return int(n_larger), int(n_equal)


@njit(nogil=True)
def _count(vector: Floats, pattern: np.uint32) -> tuple[np.int32, np.int32]:
    """As `count_beside`, of a block."""
    larger, equal = np.int32(0), np.int32(0)
    for i in range(vector.size):
        size = np.uint32(pattern_of(vector[i]) & _MAGNITUDE)
        larger += np.int32(size > pattern)
        equal += np.int32(size == pattern)
    return larger, equal


@njit(nogil=True)
def _count_halves(
    base: int, expert: int, pattern: np.uint32, start: int, n: int
) -> tuple[np.int32, np.int32]:
    """As `count_beside`, of a block of the difference of tensors in bfloat16."""
    subtracted, stored = _halves(base, start, n), _halves(expert, start, n)
    larger, equal = np.int32(0), np.int32(0)
    for i in range(n):
        whole = number_of(np.uint32(stored[i]) << np.uint32(16))
        moved = whole - number_of(np.uint32(subtracted[i]) << np.uint32(16))
        size = np.uint32(pattern_of(moved) & _MAGNITUDE)
        larger += np.int32(size > pattern)
        equal += np.int32(size == pattern)
    return larger, equal


@njit(nogil=True, cache=True)
def extent_of_magnitudes(
    places: NDArray[np.int64], start: int, stop: int
) -> tuple[np.uint32, np.uint32]:
    """The least pattern of a magnitude that is not 0, and the greatest; places as above."""
    spares = np.empty((2, _BLOCK), np.float32)
    least, greatest = _MAGNITUDE, np.uint32(0)
    for first in range(start, stop, _BLOCK):
        vector = spares[0][: min(_BLOCK, stop - first)]
        _read_vector(places, first, vector, spares[1][: vector.size])
        bits = vector.view(np.uint32)
        for i in range(vector.size):
            size = np.uint32(bits[i] & _MAGNITUDE)
            greatest = max(greatest, size)
            least = min(least, where(size == np.uint32(0), _MAGNITUDE, size))
    return least, greatest
