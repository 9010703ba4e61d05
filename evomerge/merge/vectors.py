"""What a merge reads: each expert's vector of a tensor, a chunk at a time, and the small caches.

A vector is the task vector θ_expert − θ_base, or, for methods without an origin, θ_expert itself;
always flat and in float32.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from evomerge.merge.random_bits import random_bits, stream_key
from evomerge.merge.selection import kth_largest, kth_largest_magnitude
from evomerge.merge.statistics import Statistics
from evomerge.merge.store import FactorStore
from evomerge.merge.sums import row_length, total

_N_KEPT = 1 << 14
_LARGEST_KEPT = 1 << 18
"""Entries of the largest tensor that is kept: its computation needs several times its size."""


@dataclass
class Cache:
    """Keeps tensors up to a total size, and some thousand short tuples, between candidates.

    What does not fit is not kept: a small model is merged from memory, a large one from its files.
    Threads may share it; what two of them miss at once, both compute.
    """

    limit_bytes: int
    _tensors: dict[Hashable, Tensor] = field(default_factory=dict)
    _numbers: dict[Hashable, tuple[float, ...]] = field(default_factory=dict)
    _used_bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def tensor(self, key: Hashable, n_bytes: int, compute: Callable[[], Tensor]) -> Tensor | None:
        """The tensor of this key, computed at first; None where `n_bytes` more do not fit."""
        kept = self._tensors.get(key)
        if kept is not None:
            return kept
        if self._used_bytes + n_bytes > self.limit_bytes:
            return None
        computed = compute()
        with self._lock:  # computing may itself have kept one
            if key not in self._tensors and self._used_bytes + n_bytes <= self.limit_bytes:
                self._tensors[key] = computed
                self._used_bytes += n_bytes
        return computed

    def numbers(self, key: Hashable, compute: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
        """The few numbers of this key, computed unless they are among the last few thousand."""
        kept = self._numbers.get(key)
        if kept is None:
            kept = compute()
            with self._lock:
                if len(self._numbers) >= _N_KEPT:
                    del self._numbers[next(iter(self._numbers))]
                self._numbers[key] = kept
        return kept


class ExpertVector:
    """One expert's flat float32 vector of one tensor, read span by span.

    Args:
        expert: the expert's name.
        tensor: the tensor's name.
        shape: the tensor's shape, without a 0.
        depth: how deep in the model it lies, from 0 to 1, see `groups.depths`.
        read: gives the expert's flat tensor in its stored dtype; called when first needed.
        origin: `(n,)` flat base tensor that is subtracted, or None.
        spans: the chunks in which large tensors are worked on.
        seed: the recipe's seed, the key of random masks.
        basis: what tells the coordinates in a basis from those in others and from the tensor's own.
        cache: what is kept between candidates.
        store: what is kept in files.
        factors: gives the two factors whose product the task vector is, if the expert has them.
        model: gives the expert's vectors of all tensors that are merged, this one among them.
        statistics: what is known about how the models treat text.

    `n` is the number of entries, `key` what tells this vector from all others of the same models.
    """

    def __init__(
        self,
        expert: str,
        tensor: str,
        *,
        shape: tuple[int, ...],
        depth: float,
        read: Callable[[], Tensor],
        origin: Tensor | None,
        spans: tuple[slice, ...],
        seed: int,
        basis: str = "",
        cache: Cache,
        store: FactorStore,
        factors: Callable[[], tuple[Tensor, Tensor] | None],
        model: Callable[[], Iterable["ExpertVector"]],
        statistics: Statistics,
    ) -> None:
        self.expert = expert
        self.tensor = tensor
        self.shape = shape
        self.depth = depth
        self.n = math.prod(shape)
        self.row = row_length(shape)
        self.spans = spans
        self.key = (expert, tensor, origin is not None, basis)
        self.cache = cache
        self.store = store
        self.factors = factors
        self.model = model
        self.statistics = statistics
        self._seed = seed
        self._read = read
        self._origin = origin
        self._stored: Tensor | None = None

    def with_values(
        self, values: Tensor, *, basis: str, spans: tuple[slice, ...]
    ) -> "ExpertVector":
        """The same expert's vector in another basis; nothing is known of it but its values.

        Args:
            values: the coordinates, `(p, q)` float32.
            basis: tells the basis from all others of this tensor.
            spans: consecutive spans that cover the coordinates.
        """
        return ExpertVector(
            self.expert,
            self.tensor,
            shape=tuple(values.shape),
            depth=self.depth,
            read=lambda: values.reshape(-1),
            origin=None,
            spans=spans,
            seed=self._seed,
            basis=basis,
            cache=self.cache,
            store=self.store,
            factors=lambda: None,
            model=lambda: iter(()),
            statistics=self.statistics,
        )

    def chunk(self, span: slice) -> Tensor:
        """The entries of a span, `(span,)` float32; never to be written to."""
        return self._kept("vector", span, self._computed)

    def ranked(self, values: Callable[[slice], Tensor], ranks: Sequence[int]) -> tuple[float, ...]:
        """The k-th largest of what a function of spans gives for the whole tensor, for each k."""
        if self.n > _LARGEST_KEPT:
            return kth_largest(lambda: self.over_chunks(values), ranks)
        descending = torch.cat(list(self.over_chunks(values))).sort(descending=True).values
        return tuple(descending[[k - 1 for k in ranks]].tolist())

    def over_chunks(self, values: Callable[[slice], Tensor]) -> Iterator[Tensor]:
        """What a function of spans gives for the whole tensor, chunk by chunk."""
        return (values(span) for span in self.spans)

    def weights(self, span: slice) -> Tensor:
        """The expert's weights θ on a span, `(span,)` float32."""
        if self._stored is None:
            self._stored = self._read()
        return self._stored[span].float()

    def base_weights(self, span: slice) -> Tensor:
        """The weights θ_base on a span, `(span,)` float32; 0 where nothing is subtracted."""
        if self._origin is None:
            return torch.zeros(span.stop - span.start)
        return self._origin[span].float()

    def magnitude_of_rank(self, k: int) -> float:
        """The k-th largest |entry|, exactly; ties count as often as they occur."""
        ascending = self._whole("magnitudes", lambda span: self.chunk(span).abs().sort().values)
        if ascending is not None:
            return ascending[-k].item()
        return self.cache.numbers(
            (*self.key, k),
            lambda: (kth_largest_magnitude(lambda: self.over_chunks(self.chunk), k),),
        )[0]

    def digest(self) -> str:
        """A digest of the entries."""
        return self.store.digest(self.key, lambda: self.over_chunks(self.chunk))

    def energy(self) -> float:
        """Σ v² over the tensor."""
        return self.cache.numbers(
            (*self.key, "energy"),
            lambda: (total(self.shape, lambda span: self.chunk(span).double().square_()),),
        )[0]

    def ranks_in_row(self, span: slice) -> Tensor:
        """The place of each entry by magnitude among those of its row, `(span,)` float32.

        0 is the smallest; among equals the first is the smaller. A row is what the last dimension
        runs over; a tensor of one dimension is a single row.
        """
        return self._kept("ranks", span, self._ranked)

    def random_bits(self, span: slice) -> Tensor:
        """The random bits of each entry of a span, `(span,)` float32, see `random_bits`."""
        return self._kept(self._seed, span, self._drawn)

    def _kept(self, what: Hashable, span: slice, compute: Callable[[slice], Tensor]) -> Tensor:
        """What `compute` gives for a span, from the cache where it has room."""
        whole = self._whole(what, compute)
        return compute(span) if whole is None else whole[span]

    def _whole(self, what: Hashable, compute: Callable[[slice], Tensor]) -> Tensor | None:
        """What `compute` gives for the whole tensor, if it is small and the cache has room."""
        if self.n > _LARGEST_KEPT:
            return None
        whole = slice(0, self.n)
        return self.cache.tensor((*self.key, what), 4 * self.n, lambda: compute(whole))

    def _computed(self, span: slice) -> Tensor:
        weights = self.weights(span)
        return weights if self._origin is None else weights - self._origin[span].float()

    def _ranked(self, span: slice) -> Tensor:
        start = span.start // self.row * self.row
        stop = -(-span.stop // self.row) * self.row
        order = self.chunk(slice(start, stop)).abs().view(-1, self.row).argsort(dim=1, stable=True)
        places = torch.arange(self.row, dtype=torch.float32).expand_as(order)
        ranks = torch.empty(order.shape).scatter_(1, order, places).view(-1)
        return ranks[span.start - start : span.stop - start]

    def _drawn(self, span: slice) -> Tensor:
        key = stream_key(self._seed, self.expert, self.tensor)
        return random_bits(key, span.start, span.stop - span.start)
