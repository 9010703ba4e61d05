"""What a merge reads: each expert's vector of a tensor, a chunk at a time, and the small caches.

A vector is the task vector θ_expert − θ_base, or, for methods without an origin, θ_expert itself;
always flat and in float32.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from evomerge.merge.random_bits import random_bits, stream_key
from evomerge.merge.selection import kth_largest_magnitude

_N_NUMBERS = 1 << 14
_LARGEST_KEPT = 1 << 18
"""Entries of the largest tensor that is kept: its computation needs several times its size."""


@dataclass
class Cache:
    """Keeps tensors up to a total size, and a bounded number of numbers, between candidates.

    What does not fit is not kept: a small model is merged from memory, a large one from its files.
    """

    limit_bytes: int
    _tensors: dict[Hashable, Tensor] = field(default_factory=dict)
    _numbers: dict[Hashable, float] = field(default_factory=dict)
    _used_bytes: int = 0

    def tensor(self, key: Hashable, n_bytes: int, compute: Callable[[], Tensor]) -> Tensor | None:
        """The tensor of this key, computed at first; None where `n_bytes` more do not fit."""
        kept = self._tensors.get(key)
        if kept is not None:
            return kept
        if self._used_bytes + n_bytes > self.limit_bytes:
            return None
        computed = compute()
        if self._used_bytes + n_bytes <= self.limit_bytes:  # computing may itself have kept one
            self._tensors[key] = computed
            self._used_bytes += n_bytes
        return computed

    def number(self, key: Hashable, compute: Callable[[], float]) -> float:
        """The number of this key, computed unless it is among the last few thousand."""
        if key not in self._numbers:
            if len(self._numbers) >= _N_NUMBERS:
                del self._numbers[next(iter(self._numbers))]
            self._numbers[key] = compute()
        return self._numbers[key]


class ExpertVector:
    """One expert's flat float32 vector of one tensor, read span by span.

    Args:
        expert: the expert's name.
        tensor: the tensor's name.
        read: gives the expert's flat tensor in its stored dtype; called when first needed.
        origin: `(n,)` flat base tensor that is subtracted, or None.
        spans: the chunks in which large tensors are worked on.
        seed: the recipe's seed, the key of random masks.
        cache: what is kept between candidates.

    `n` is the number of entries.
    """

    def __init__(
        self,
        expert: str,
        tensor: str,
        *,
        read: Callable[[], Tensor],
        origin: Tensor | None,
        spans: tuple[slice, ...],
        seed: int,
        cache: Cache,
    ) -> None:
        self._key = (expert, tensor, origin is not None)
        self._seed = seed
        self._read = read
        self._origin = origin
        self._spans = spans
        self.n: int = spans[-1].stop
        self._cache = cache
        self._stored: Tensor | None = None

    def chunk(self, span: slice) -> Tensor:
        """The entries of a span, `(span,)` float32; never to be written to."""
        return self._kept("vector", span, self._computed)

    def magnitude_of_rank(self, k: int) -> float:
        """The k-th largest |entry|, exactly; ties count as often as they occur."""
        ascending = self._whole("magnitudes", lambda span: self.chunk(span).abs().sort().values)
        if ascending is not None:
            return ascending[-k].item()
        return self._cache.number((*self._key, k), lambda: kth_largest_magnitude(self._chunks, k))

    def random_bits(self, span: slice) -> Tensor:
        """The random bits of each entry of a span, `(span,)` float32, see `random_bits`."""
        return self._kept(self._seed, span, self._drawn)

    def _chunks(self) -> Iterator[Tensor]:
        return (self.chunk(span) for span in self._spans)

    def _kept(self, what: Hashable, span: slice, compute: Callable[[slice], Tensor]) -> Tensor:
        """What `compute` gives for a span, from the cache where it has room."""
        whole = self._whole(what, compute)
        return compute(span) if whole is None else whole[span]

    def _whole(self, what: Hashable, compute: Callable[[slice], Tensor]) -> Tensor | None:
        """What `compute` gives for the whole tensor, if it is small and the cache has room."""
        if self.n > _LARGEST_KEPT:
            return None
        whole = slice(0, self.n)
        return self._cache.tensor((*self._key, what), 4 * self.n, lambda: compute(whole))

    def _computed(self, span: slice) -> Tensor:
        if self._stored is None:
            self._stored = self._read()
        weights = self._stored[span].float()
        return weights if self._origin is None else weights - self._origin[span].float()

    def _drawn(self, span: slice) -> Tensor:
        expert, tensor, _ = self._key
        key = stream_key(self._seed, expert, tensor)
        return random_bits(key, span.start, span.stop - span.start)
