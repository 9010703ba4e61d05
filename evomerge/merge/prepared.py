"""Merging a base and its experts: prepared once, then one streaming pass for each recipe.

A large model's tensors are merged by compiled loops (`fused`) where these know the method's stages,
by torch's operations (`pipeline`) otherwise, to the same bits.

Memory: beside the model that is written to, a merge holds at most 64 MiB and one tensor: a cache of
at most `_CACHE_BYTES`, which spares small models the same work at every candidate, and the chunks
of `pipeline`. A large model's sketches (`fused`) are at most 5 % of the experts' bytes. Methods and
stages that need whole matrices hold a few of the size of the one that is merged; what they work out
once is in mapped files (`store`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from evomerge.errors import ModelError, NonFiniteError, ShapeError
from evomerge.merge.fused.codes import is_known
from evomerge.merge.fused.engine import Fused, Task
from evomerge.merge.groups import assign, depths
from evomerge.merge.method import Space
from evomerge.merge.pipeline import combined, followed, n_entries_of_chunk, row_spans
from evomerge.merge.plans import KEPT, GroupPlan, plan_recipe, plan_tensors
from evomerge.merge.statistics import Sources, Statistics
from evomerge.merge.store import FactorStore
from evomerge.merge.vectors import Cache, ExpertVector
from evomerge.merge.writes import Writes
from evomerge.records import GroupRecipe, LowRankSource, Recipe, TensorInfo, TensorSource

_CACHE_BYTES = 32 << 20
_LEAST_FUSED = 1 << 24
"""Entries of the smallest model that is merged by compiled loops, which take a second to load."""

_BATCH = 1 << 24
"""Entries of the tensors that are merged at once."""


class PreparedMerge:
    """A base and its experts, open and checked, from which any recipe can be merged.

    All arithmetic is in float32 and rounded once, to the base's dtype. Integer and boolean tensors
    are the base's. An expert whose coefficient is zero in a group is not read there.

    Args:
        base: the model whose tensors, shapes and dtypes every merge has.
        experts: the models to merge by name; each must have the base's tensors at least.
        prepared: directory for what spectral methods work out once, which processes may share and
            runs may reuse; one that lasts as long as this object by default.
        statistics: what was collected from text, for the methods that need it.
        dtype: the dtype of a merge's floating-point tensors, where it is not the base's.

    Raises:
        ModelError: an expert lacks tensors of the base.
        ShapeError: a tensor of an expert has another shape than the base's.
    """

    def __init__(
        self,
        base: TensorSource,
        experts: Mapping[str, TensorSource],
        statistics: Sources = MappingProxyType({}),
        *,
        prepared: Path | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._base = base
        self._experts = dict(experts)
        self._statistics = Statistics(statistics)
        self._infos = {name: _in_dtype(info, dtype) for name, info in base.infos().items()}
        self._depths = depths(self._infos)
        self._cache = Cache(_CACHE_BYTES)
        self._store = FactorStore(prepared)
        self._n_entries = sum(math.prod(info.shape) for info in self._infos.values())
        self._fused: Fused | None = None
        self._writes = Writes()
        self._assigned: tuple[tuple[str, ...], dict[str, str]] = ((), {})
        for name, expert in self._experts.items():
            _check_fit(name, expert.infos(), self._infos)

    def materialise(self, recipe: Recipe, into: Mapping[str, Tensor]) -> None:
        """Write the merge into live tensors, in place.

        The values are those of `merged`, bit for bit, widened where a live tensor has a wider dtype
        than the base. What these tensors hold already from the last merge into them is not written
        again; see `Writes` for who else may write to them, and how. After an error the live tensors
        hold a mixture; the next merge overwrites all of it.

        Args:
            recipe: the merge.
            into: the live tensors by the base's tensor names, of the base's shapes, in any dtype
                and on any device; tensors the base does not have are left alone.

        Raises:
            UsageError: the recipe does not fit the base or the experts.
            ModelError: `into` lacks a tensor of the base, or holds the base's own tensors.
            ShapeError: a live tensor has another shape than the base's.
            NonFiniteError: the merge has entries that are NaN or infinite.
        """
        _check_targets(into, self._infos)
        self._refuse_aliases(into)
        plans = self._plan(recipe)
        made_from = {name: (plan, recipe.seed) for name, plan in plans.items()}
        stale = [name for name in plans if not self._writes.hold(name, into[name], made_from[name])]
        self._writes.forget(stale)
        with torch.no_grad():
            for names in self._batches(stale):
                self._write_all({name: plans[name] for name in names}, recipe.seed, into)
        for name in stale:
            self._writes.remember(name, into[name], made_from[name])

    def merged(self, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
        """The merge as a stream of named tensors, in the base's order, shapes and dtypes.

        A tensor may be a view of the base or of an expert: read it, never write to it.

        Raises:
            UsageError: at once, the recipe does not fit the base or the experts.
            NonFiniteError: while streaming, a tensor has entries that are NaN or infinite.
        """
        plans = self._plan(recipe)
        return (
            (name, self._merge(self._infos[name], plan, recipe.seed))
            for name, plan in plans.items()
        )

    def merged_with(
        self, groups: Mapping[str, GroupRecipe], experts: Sequence[str], *, seed: int = 0
    ) -> Mapping[str, Tensor]:
        """As `merged`, with values of its own for each tensor.

        Args:
            groups: how to merge each tensor, by its name.
            experts: the experts' names, in the order of values that are one an expert.
            seed: the key of random masks.

        Returns:
            The tensors by name, each merged when it is looked up, from any thread.

        Raises:
            UsageError: at once, a tensor is not one of the base's, or its values do not fit.
            NonFiniteError: at a look-up, the tensor has entries that are NaN or infinite.
        """
        plans = plan_tensors(groups, tuple(experts), tuple(self._infos))
        return _Merged(plans, lambda name: self._merge(self._infos[name], plans[name], seed))

    def infos(self) -> Mapping[str, TensorInfo]:
        """The tensors of every merge."""
        return self._infos

    @property
    def sketch_bytes(self) -> int:
        """Memory held by sketches of magnitudes, see `fused.sketches`."""
        return self._fused.sketch_bytes if self._fused else 0

    def _plan(self, recipe: Recipe) -> dict[str, GroupPlan]:
        """The plan of every tensor, the recipe being checked."""
        plans = plan_recipe(recipe, tuple(self._experts))
        for plan in plans.values():
            if plan.experts:
                kinds = plan.method.statistics
                self._statistics.require(kinds, plan.experts, method=plan.method.name)
        group_names = tuple(recipe.groups)
        if self._assigned[0] != group_names:
            self._assigned = (group_names, assign(self._infos, group_names))
        return {name: plans.get(group, KEPT) for name, group in self._assigned[1].items()}

    def _refuse_aliases(self, into: Mapping[str, Tensor]) -> None:
        for name, info in self._infos.items():
            if math.prod(info.shape) and into[name].data_ptr() == self._base.read(name).data_ptr():
                raise ModelError(
                    f"live tensor '{name}' shares its memory with the base, expected a copy: "
                    "merging into it would change the base; clone the live model's tensors"
                )

    def _copied(self, info: TensorInfo, plan: GroupPlan) -> Tensor | None:
        """The stored tensor that the merge is, where it is one, and needs no rounding."""
        source = self._alone(info, plan)
        if source is None:
            return None
        is_rounded = source.infos()[info.name].dtype != info.dtype and 0 not in info.shape
        return None if is_rounded else source.read(info.name).to(info.dtype)

    def _alone(self, info: TensorInfo, plan: GroupPlan) -> TensorSource | None:
        """The one model that the merge of a tensor equals but for rounding, if there is one."""
        if not plan.experts or not _is_merged(info):
            return self._base
        return None if plan.copied_expert is None else self._experts[plan.copied_expert]

    @torch.no_grad()
    def _merge(self, info: TensorInfo, plan: GroupPlan, seed: int) -> Tensor:
        copied = self._copied(info, plan)
        if copied is not None:
            return copied
        merged = torch.empty(info.shape, dtype=info.dtype)
        self._write_all({info.name: plan}, seed, {info.name: merged})
        return merged

    def _batches(self, names: Iterable[str]) -> Iterator[list[str]]:
        """The names in their order, so many at once as is worth sharing among threads."""
        batch: list[str] = []
        n_entries = 0
        for name in names:
            batch.append(name)
            n_entries += math.prod(self._infos[name].shape)
            if n_entries >= _BATCH:
                yield batch
                batch, n_entries = [], 0
        yield batch

    def _write_all(
        self, plans: Mapping[str, GroupPlan], seed: int, into: Mapping[str, Tensor]
    ) -> None:
        """Merge tensors, those that the compiled loops know together."""
        tasks = [
            self._task(self._infos[name], plan, seed, into[name])
            for name, plan in plans.items()
            if self._n_entries >= _LEAST_FUSED and self._is_known(name, plan)
        ]
        tasks = [task for task in tasks if task.is_flat()]
        if tasks:
            self._fused = self._fused or Fused()
            done = {task.info.name for task in tasks} - set(self._fused.merge(tasks))
            plans = {name: plan for name, plan in plans.items() if name not in done}
        for name, plan in plans.items():
            self._write(self._infos[name], plan, seed, out=into[name])

    def _is_known(self, name: str, plan: GroupPlan) -> bool:
        """Whether compiled loops can merge a tensor; those of adapters are not kept as they are."""
        sources = (self._experts[expert] for expert in plan.experts)
        info = self._infos[name]
        return (
            _is_merged(info)
            and bool(plan.experts)
            and is_known(info, plan)
            and not any(isinstance(source, LowRankSource) for source in sources)
        )

    def _task(self, info: TensorInfo, plan: GroupPlan, seed: int, out: Tensor) -> Task:
        base = self._base.read(info.name) if plan.method.needs_base else None
        experts = [self._experts[expert].read(info.name) for expert in plan.experts]
        return Task(info, plan, seed, base, experts, out)

    def _write(self, info: TensorInfo, plan: GroupPlan, seed: int, *, out: Tensor) -> None:
        """Merge one tensor into `out`, by chunks where its memory is flat and near."""
        copied = self._copied(info, plan)
        if copied is not None:
            out.copy_(copied)
        elif out.is_contiguous() and out.device.type == "cpu":
            flat = out.view(-1)
            for span, values in self._chunks(info, plan, seed):
                rounded = values.to(info.dtype)
                _check_finite(rounded, info, plan)
                flat[span] = rounded
        else:
            out.copy_(self._merge(info, plan, seed))

    def _chunks(
        self, info: TensorInfo, plan: GroupPlan, seed: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """The merge of one flat tensor, chunk by chunk, before it is rounded."""
        spans = row_spans(info.shape, n_entries_of_chunk(len(plan.experts)))
        alone = self._alone(info, plan)
        if alone is not None:
            stored = alone.read(info.name).reshape(-1)
            yield from ((span, stored[span]) for span in spans)
            return
        base = self._base.read(info.name).reshape(-1) if plan.method.needs_base else None
        vectors = self._vectors(info, plan, seed, space=plan.method.space)
        merged = combined(plan, vectors, spans)
        if base is not None and plan.method.after:
            if plan.method.space == "weights":
                merged = ((span, weights.sub_(base[span])) for span, weights in merged)
                vectors = self._vectors(info, plan, seed, space="task_vectors")
            merged = followed(plan, vectors, merged, spans)
        for span, delta in merged:
            yield span, delta if base is None else delta.add_(base[span])

    def _vectors(
        self, info: TensorInfo, plan: GroupPlan, seed: int, *, space: Space
    ) -> list[ExpertVector]:
        return [self._vector(expert, info, plan, seed, space) for expert in plan.experts]

    def _vector(
        self, expert: str, info: TensorInfo, plan: GroupPlan, seed: int, space: Space
    ) -> ExpertVector:
        return ExpertVector(
            expert,
            info.name,
            shape=info.shape,
            depth=self._depths[info.name],
            read=partial(self._flat, expert, info.name),
            origin=self._base.read(info.name).reshape(-1) if space == "task_vectors" else None,
            spans=row_spans(info.shape, n_entries_of_chunk(len(plan.experts))),
            seed=seed,
            cache=self._cache,
            store=self._store,
            factors=partial(self._factors, expert, info.name),
            model=lambda: (
                self._vector(expert, other, plan, seed, space)
                for other in self._infos.values()
                if _is_merged(other)
            ),
            statistics=self._statistics,
        )

    def _factors(self, expert: str, name: str) -> tuple[Tensor, Tensor] | None:
        source = self._experts[expert]
        return source.factors(name) if isinstance(source, LowRankSource) else None

    def _flat(self, expert: str, name: str) -> Tensor:
        return self._experts[expert].read(name).reshape(-1)


class _Merged(Mapping[str, Tensor]):
    """Tensors that are merged when they are looked up, and not kept."""

    def __init__(self, names: Iterable[str], merge: Callable[[str], Tensor]) -> None:
        self._names = dict.fromkeys(names)
        self._merge = merge

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._merge(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _in_dtype(info: TensorInfo, dtype: torch.dtype | None) -> TensorInfo:
    return info if dtype is None or not info.dtype.is_floating_point else replace(info, dtype=dtype)


def _is_merged(info: TensorInfo) -> bool:
    """Whether there is something to merge, rather than the base's tensor to copy."""
    return 0 not in info.shape and info.dtype.is_floating_point


def _check_fit(
    expert: str, infos: Mapping[str, TensorInfo], expected: Mapping[str, TensorInfo]
) -> None:
    missing = [name for name in expected if name not in infos]
    if missing:
        raise ModelError(
            f"expert '{expert}' lacks {len(missing)} of the base's {len(expected)} tensors, the "
            f"first is '{missing[0]}'; experts must be fine-tunes of the base's architecture"
        )
    for name, info in expected.items():
        if infos[name].shape != info.shape:
            raise ShapeError(
                f"tensor '{name}' of expert '{expert}' has shape {infos[name].shape}, expected "
                f"{info.shape} as in the base; do they share architecture and vocabulary?"
            )


def _check_targets(into: Mapping[str, Tensor], expected: Mapping[str, TensorInfo]) -> None:
    missing = [name for name in expected if name not in into]
    if missing:
        raise ModelError(
            f"the live model lacks {len(missing)} of the base's {len(expected)} tensors, the "
            f"first is '{missing[0]}'; name the live tensors as the base's checkpoint does"
        )
    for name, info in expected.items():
        if tuple(into[name].shape) != info.shape:
            raise ShapeError(
                f"live tensor '{name}' has shape {tuple(into[name].shape)}, expected {info.shape} "
                "as in the base; was the live model built from the base's config?"
            )


def _check_finite(chunk: Tensor, info: TensorInfo, plan: GroupPlan) -> None:
    low, high = chunk.aminmax()  # both are NaN where any entry is
    if not (math.isfinite(low) and math.isfinite(high)):
        n_bad = int((~chunk.isfinite()).sum())
        raise NonFiniteError(
            f"the {plan.method.name} merge of tensor '{info.name}' has {n_bad} entries or more "
            f"that are NaN or infinite in {info.dtype}; check the models with find_damage, and "
            "if they are clean lower the coefficients: the sum overflows"
        )
