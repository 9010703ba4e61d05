"""A recipe in a few numbers: where its values lie on average."""

import math
from collections.abc import Iterable, Mapping

from evomerge.records import GroupRecipe, ParameterValue, Recipe

_LAYERS = "layers."
_DEPTHS = {2: ("early", "late"), 3: ("early", "middle", "late")}


def mean_values(recipe: Recipe) -> dict[str, float]:
    """Each parameter's mean by expert over the layer groups, and by depth over the experts.

    `coefficient.math` is the mean over all layer groups; `coefficient_early`, `_middle` and `_late`
    are the means over the first, second and last third of the groups of layers.
    """
    names = dict.fromkeys(name for group in recipe.groups.values() for name in group.values)
    means: dict[str, float] = {}
    for name in names:
        for owner, mean in means_by_expert(recipe, name):
            means[f"{name}.{owner}" if owner else name] = mean
        for depth, groups in _by_depth(recipe.groups).items():
            if values := _values(groups, name):
                means[f"{name}_{depth}"] = _mean(number for row in values for number in row)
    return means


def means_by_expert(recipe: Recipe, name: str) -> list[tuple[str, float]]:
    """A parameter's mean over the layer groups for each expert; the owner of a shared one is ""."""
    means = [_mean(column) for column in zip(*_values(recipe.groups.values(), name), strict=False)]
    owners = recipe.experts if len(means) == len(recipe.experts) else ("",) * len(means)
    return [*zip(owners, means, strict=True)]


def _by_depth(groups: Mapping[str, GroupRecipe]) -> dict[str, list[GroupRecipe]]:
    layers = [group for name, group in groups.items() if name.startswith(_LAYERS)]
    depths = _DEPTHS.get(min(len(layers), 3), ())
    ends = [round(len(layers) * part / max(len(depths), 1)) for part in range(len(depths) + 1)]
    return {depth: layers[ends[i] : ends[i + 1]] for i, depth in enumerate(depths)}


def _values(groups: Iterable[GroupRecipe], name: str) -> list[tuple[float, ...]]:
    return [_row(group.values[name]) for group in groups if name in group.values]


def _row(value: ParameterValue) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _mean(numbers: Iterable[float]) -> float:
    row = list(numbers)
    return math.fsum(row) / len(row)
