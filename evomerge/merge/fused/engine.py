"""Merges of tensors by the compiled loops, in threads, bit for bit as `pipeline` merges them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.merge.fused.codes import (
    COMBINATIONS,
    DTYPES,
    ELECTIONS,
    KEEP_ALL,
    KEEP_BAND,
    KEEP_BY_RANK,
    KEEP_RANDOM,
    RANKS,
    WEIGHTS,
)
from evomerge.merge.plans import GroupPlan
from evomerge.merge.random_bits import N_VALUES, stream_key
from evomerge.merge.stages.sparsify import (
    Ranks,
    band,
    drop_at_random,
    drop_by_rank,
    odds,
    odds_by_rank,
)
from evomerge.merge.sums import row_length
from evomerge.records import TensorInfo

_SPAN = 1 << 18

Pair = tuple[str, str, bool]
"""An expert, a tensor, and whether the base is subtracted: what tells one vector from another."""


@dataclass(frozen=True)
class Task:
    """One tensor to merge.

    Args:
        info: the base's tensor.
        plan: how it is merged, with the experts that are.
        seed: the recipe's seed.
        base: the base's tensor, where it is subtracted and added.
        experts: the experts' tensors, in the plan's order.
        out: where the merge is written, in any dtype.
    """

    info: TensorInfo
    plan: GroupPlan
    seed: int
    base: Tensor | None
    experts: Sequence[Tensor]
    out: Tensor

    @property
    def n(self) -> int:
        """The number of entries."""
        return math.prod(self.info.shape)

    @property
    def row(self) -> int:
        """The length of the rows in which entries are ranked; 0 where they are not."""
        is_ranked = self.plan.method.sparsify is drop_by_rank
        return row_length(self.info.shape) if is_ranked else 0

    @property
    def span(self) -> int:
        """How many entries a thread merges at a time: whole rows, where those matter."""
        return max(_SPAN // self.row, 1) * self.row if self.row else _SPAN

    def is_flat(self) -> bool:
        """Whether all memory is flat and near, and its entries can be counted in 32 bits."""
        tensors = [*self.experts, self.out] + ([] if self.base is None else [self.base])
        return self.n < 1 << 32 and all(map(_is_flat, tensors))

    def pair(self, position: int) -> Pair:
        """The vector of the expert at this position of the plan."""
        return (self.plan.experts[position], self.info.name, self.base is not None)

    def places_of_pair(self, position: int) -> NDArray[np.int64]:
        """Where the base and this expert lie, for the loops that read one vector."""
        return np.array([_place(self.base), _place(self.experts[position])])

    def places(self) -> NDArray[np.int64]:
        """Where the target, the base and the experts lie."""
        return np.array([_place(self.out), _place(self.base), *map(_place, self.experts)])


Magnitudes = Mapping[Pair, Mapping[int, float]]
"""The magnitude of each rank that is asked for of a vector."""


Program = tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.uint32],
    NDArray[np.float32],
    NDArray[np.int64],
    np.float32,
]
"""What `kernels.merge_span` is told of a tensor."""


class Fused:
    """Merges tensors by compiled loops, and keeps what it learned of their magnitudes.

    The first merge on a machine compiles the loops, which takes some ten seconds, and keeps them on
    disk; the first of a process loads them in less than one.
    """

    def __init__(self) -> None:
        from evomerge.merge.fused.sketches import Sketches  # numba takes its time

        self._sketches = Sketches()

    @property
    def sketch_bytes(self) -> int:
        """Memory held by what is known of magnitudes."""
        return self._sketches.n_bytes

    def merge(self, tasks: Sequence[Task]) -> set[str]:
        """Merge tensors with plans that are known (`codes.is_known`), and flat memory.

        Returns:
            the names of those whose merge is not finite; their targets are not to be relied on.
        """
        from evomerge.merge.fused.kernels import merge_span

        def merge_one(span: tuple[Task, Program, int]) -> str | None:
            task, program, start = span
            stop = min(start + task.span, task.n)
            return None if merge_span(*program, start, stop) else task.info.name

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            magnitudes = self._magnitudes(tasks, pool)
            programs = [(task, _program(task, magnitudes)) for task in tasks]
            spans = (
                (task, program, start)
                for task, program in programs
                for start in range(0, task.n, task.span)
            )
            return {name for name in pool.map(merge_one, spans) if name is not None}

    def _magnitudes(self, tasks: Sequence[Task], pool: ThreadPoolExecutor) -> Magnitudes:
        """All that `band` will ask for."""
        wanted: dict[Pair, tuple[NDArray[np.int64], int, set[int]]] = {}
        for task, position, (first, last) in _ranked(tasks):
            place = (task.places_of_pair(position), task.n, set[int]())
            _, _, ranks = wanted.setdefault(task.pair(position), place)
            ranks.update(rank for rank in (first, min(last, task.n)) if 0 < rank <= last)
        largest_first = sorted(wanted, key=lambda pair: -wanted[pair][1])
        found = pool.map(lambda pair: self._sketches.magnitudes(pair, *wanted[pair]), largest_first)
        return dict(zip(largest_first, found, strict=True))


def _ranked(tasks: Iterable[Task]) -> Iterator[tuple[Task, int, Ranks]]:
    """Each task's experts, by position, whose entries are kept by rank."""
    for task in tasks:
        if task.plan.method.sparsify in RANKS:
            ranks_of = RANKS[task.plan.method.sparsify]
            for position, settings in enumerate(task.plan.settings):
                yield task, position, ranks_of(task.n, settings)


def _program(task: Task, magnitudes: Magnitudes) -> Program:
    method = task.plan.method
    kinds = [_sparsify(task, position, magnitudes) for position in range(len(task.experts))]
    factors = WEIGHTS[method.weigh](task.plan.coefficients)
    keys = [stream_key(task.seed, expert, task.info.name) for expert in task.plan.experts]
    codes = (ELECTIONS[method.elect], COMBINATIONS[method.combine], DTYPES[task.info.dtype])
    return (
        task.places(),
        np.array([kind for kind, _, _ in kinds]),
        np.array(keys, np.int32).view(np.uint32),
        np.array([(f, *rest) for f, (_, *rest) in zip(factors, kinds, strict=True)], np.float32),
        np.array((*codes, task.row)),
        np.float32(task.plan.settings[0]["lambda"] if method.post else 1.0),
    )


def _sparsify(task: Task, position: int, magnitudes: Magnitudes) -> tuple[int, float, float]:
    """What is done to an expert's vector: the code and two numbers."""
    sparsify, settings = task.plan.method.sparsify, task.plan.settings[position]
    if sparsify in RANKS:
        known = magnitudes[task.pair(position)]
        limits = band(task.n, RANKS[sparsify](task.n, settings), known.__getitem__)
        return (KEEP_BAND, *limits) if limits else (KEEP_ALL, 0.0, 0.0)
    if sparsify is drop_at_random:
        n_kept, rescale = odds(settings)
        return (KEEP_RANDOM, n_kept, rescale) if n_kept < N_VALUES else (KEEP_ALL, 0.0, 0.0)
    if sparsify is drop_by_rank and settings["density"] < 1.0:
        lowest, step = odds_by_rank(task.row, settings)
        return KEEP_BY_RANK, lowest, step
    return KEEP_ALL, 0.0, 0.0


def _place(tensor: Tensor | None) -> tuple[int, int]:
    return (tensor.data_ptr(), DTYPES[tensor.dtype]) if tensor is not None else (0, 0)


def _is_flat(tensor: Tensor) -> bool:
    return tensor.dtype in DTYPES and tensor.device.type == "cpu" and tensor.is_contiguous()
