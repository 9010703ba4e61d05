"""Merging a base and its experts: prepared once, then one streaming pass for each recipe.

Memory: beside the model that is written to, a merge holds at most 64 MiB and one tensor: chunks of
at most `_CHUNK_BYTES` in all, and a cache of at most `_CACHE_BYTES` that spares small models the
same work at every candidate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from evomerge.errors import ModelError, NonFiniteError, ShapeError
from evomerge.merge.groups import assign
from evomerge.merge.plans import GroupPlan, plan_recipe
from evomerge.merge.vectors import Cache, ExpertVector
from evomerge.records import Recipe, TensorInfo, TensorSource

_CACHE_BYTES = 32 << 20
_CHUNK_BYTES = 24 << 20
_LARGEST_CHUNK = 1 << 18
"""Entries of a chunk: 1 MiB in float32, so that the work of a chunk stays in the processor."""


class PreparedMerge:
    """A base and its experts, open and checked, from which any recipe can be merged.

    All arithmetic is in float32 and rounded once, to the base's dtype. Integer and boolean tensors
    are the base's. An expert whose coefficient is zero in a group is not read there.

    Args:
        base: the model whose tensors, shapes and dtypes every merge has.
        experts: the models to merge by name; each must have the base's tensors at least.

    Raises:
        ModelError: an expert lacks tensors of the base.
        ShapeError: a tensor of an expert has another shape than the base's.
    """

    def __init__(self, base: TensorSource, experts: Mapping[str, TensorSource]) -> None:
        self._base = base
        self._experts = dict(experts)
        self._infos = dict(base.infos())
        self._cache = Cache(_CACHE_BYTES)
        self._assigned: tuple[tuple[str, ...], dict[str, str]] = ((), {})
        for name, expert in self._experts.items():
            _check_fit(name, expert.infos(), self._infos)

    def materialise(self, recipe: Recipe, into: Mapping[str, Tensor]) -> None:
        """Write the merge into live tensors, in place.

        The values are those of `merged`, bit for bit, widened where a live tensor has a wider dtype
        than the base. After an error the live tensors hold a mixture; the next merge overwrites
        all of it.

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
        tensors = self.merged(recipe)
        with torch.no_grad():
            for name, tensor in tensors:
                into[name].copy_(tensor)

    def merged(self, recipe: Recipe) -> Iterator[tuple[str, Tensor]]:
        """The merge as a stream of named tensors, in the base's order, shapes and dtypes.

        A tensor may be a view of the base or of an expert: read it, never write to it.

        Raises:
            UsageError: at once, the recipe does not fit the base or the experts.
            NonFiniteError: while streaming, a tensor has entries that are NaN or infinite.
        """
        plans = plan_recipe(recipe, tuple(self._experts))
        owners = self._assign(tuple(recipe.groups))
        return (
            (name, self._merge(info, plans[owners[name]], recipe.seed))
            for name, info in self._infos.items()
        )

    def _refuse_aliases(self, into: Mapping[str, Tensor]) -> None:
        for name, info in self._infos.items():
            if math.prod(info.shape) and into[name].data_ptr() == self._base.read(name).data_ptr():
                raise ModelError(
                    f"live tensor '{name}' shares its memory with the base, expected a copy: "
                    "merging into it would change the base; clone the live model's tensors"
                )

    def _assign(self, group_names: tuple[str, ...]) -> dict[str, str]:
        if self._assigned[0] != group_names:
            self._assigned = (group_names, assign(self._infos, group_names))
        return self._assigned[1]

    def _merge(self, info: TensorInfo, plan: GroupPlan, seed: int) -> Tensor:
        idle = not plan.experts or 0 in info.shape
        if idle or not info.dtype.is_floating_point:
            return self._base.read(info.name)
        alone = plan.copied_expert
        if alone is not None and self._experts[alone].infos()[info.name].dtype == info.dtype:
            return self._experts[alone].read(info.name)
        merged = torch.empty(info.shape, dtype=info.dtype)
        with torch.no_grad():
            for span, values in self._chunks(info, plan, seed):
                chunk = merged.view(-1)[span]
                chunk.copy_(values)
                low, high = chunk.aminmax()  # either is NaN where any entry is
                if not (low.isfinite() and high.isfinite()):
                    raise NonFiniteError(_non_finite(info, plan, chunk))
        return merged

    def _chunks(
        self, info: TensorInfo, plan: GroupPlan, seed: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """The merge of one flat tensor, chunk by chunk, before it is rounded."""
        spans = row_spans(info.shape, _entries_of_chunk(len(plan.experts)))
        if plan.copied_expert is not None:
            stored = self._flat(plan.copied_expert, info.name)
            yield from ((span, stored[span]) for span in spans)
            return
        base = self._base.read(info.name).reshape(-1) if plan.method.needs_base else None
        vectors = [
            ExpertVector(
                expert,
                info.name,
                read=partial(self._flat, expert, info.name),
                origin=base,
                spans=spans,
                seed=seed,
                cache=self._cache,
            )
            for expert in plan.experts
        ]
        for span, delta in combined(plan, vectors, spans):
            yield span, delta if base is None else delta.add_(base[span])

    def _flat(self, expert: str, name: str) -> Tensor:
        return self._experts[expert].read(name).reshape(-1)


def combined(
    plan: GroupPlan, vectors: Sequence[ExpertVector], spans: Sequence[slice]
) -> Iterator[tuple[slice, Tensor]]:
    """The stages of the plan's method from sparsify to combine, span by span.

    Args:
        plan: the method with the coefficients and settings of each vector.
        vectors: one a live expert, in the plan's order.
        spans: consecutive spans that cover the tensor.

    Yields:
        a span and the merged vector Δ on it, `(span,)` float32, the caller's to change.
    """
    method = plan.method
    kept = [method.sparsify(*pair) for pair in zip(vectors, plan.settings, strict=True)]
    for span in spans:
        contributions = [
            keep(span) * factor for keep, factor in zip(kept, plan.coefficients, strict=True)
        ]
        elected = method.elect(contributions)
        yield span, method.combine(contributions, plan.coefficients, elected)


def row_spans(shape: Sequence[int], n_largest: int) -> tuple[slice, ...]:
    """Consecutive slices of a flattened tensor: whole rows, where one fits into `n_largest`."""
    n = math.prod(shape)
    row = n // shape[0] if shape else 1
    step = n_largest // row * row if row <= n_largest else n_largest
    return tuple(slice(start, min(start + step, n)) for start in range(0, n, step))


def _entries_of_chunk(n_experts: int) -> int:
    # In flight for each expert: vector, contribution, mask, weights; beside them a few sums.
    return min(_LARGEST_CHUNK, _CHUNK_BYTES // (4 * (4 * n_experts + 8)))


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


def _non_finite(info: TensorInfo, plan: GroupPlan, chunk: Tensor) -> str:
    n_bad = int((~torch.isfinite(chunk)).sum())
    return (
        f"the {plan.method.name} merge of tensor '{info.name}' has {n_bad} entries that are NaN "
        f"or infinite in {info.dtype}; check the models with find_non_finite, and if they are "
        "clean lower the coefficients: the sum overflows"
    )
