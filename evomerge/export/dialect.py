"""What a layer group's numbers are called in mergekit, and what it cannot say."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from evomerge.records import GroupRecipe, Recipe

_WITH_DENSITY = ("ties", "dare_ties")
TRANSLATED = ("linear", "task_arithmetic", *_WITH_DENSITY)
"""The methods whose numbers are known in mergekit's words."""


@dataclass(frozen=True)
class Entry:
    """The settings of one layer group in mergekit's words: weights and densities by expert."""

    weights: tuple[float, ...]
    densities: tuple[float, ...]
    base_weight: float
    scale: float


def common_method(recipe: Recipe) -> str:
    """The one method of the file: the only one, or the one that most layer groups use.

    `linear` and `task_arithmetic` together are task arithmetic with shares as coefficients.
    """
    methods = Counter(group.method for group in recipe.groups.values())
    if set(methods) == {"linear", "task_arithmetic"}:
        return "task_arithmetic"
    return methods.most_common(1)[0][0]


def entry(group: GroupRecipe, n_experts: int, method: str) -> Entry:
    """The settings of a group under the file's method."""
    coefficients = _per_expert(group, "coefficient", n_experts)
    total = sum(coefficients)
    base_weight, scale = 0.0, 1.0
    if method == "linear" and total == 0:
        base_weight = 1.0
    elif method == "task_arithmetic" and group.method == "linear" and total:
        coefficients = tuple(value / total for value in coefficients)
    elif method in _WITH_DENSITY:
        # mergekit divides by the sum of the agreeing weights, so that only their ratios count.
        scale = max(coefficients, key=abs)
        coefficients = coefficients if scale else (1.0,) * n_experts
    return Entry(coefficients, _per_expert(group, "density", n_experts), base_weight, scale)


def caveats(recipe: Recipe, method: str) -> Iterator[str]:
    """What merges differently under mergekit, a line or more for each reason."""
    foreign = [name for name, group in recipe.groups.items() if not _fits(group, method)]
    if foreign:
        yield f"One file holds one method, here {method}. Merged otherwise in evomerge:"
        yield from (f"  {name}: {recipe.groups[name].method}" for name in foreign)
    if method == "dare_ties":
        yield "dare_ties: mergekit draws its own random masks and rescales by the L1 norm, evomerge"
        yield "by the density with masks from the recipe's seed: alike on average, not equal."
    uneven = [name for name, group in recipe.groups.items() if _is_uneven(group)]
    if method in _WITH_DENSITY and uneven:
        yield "Experts with unlike coefficients: where the one with the largest is not elected,"
        yield "mergekit scales by that largest one still, evomerge by the largest of the elected:"
        yield f"  {', '.join(uneven)}"
    if method == "ties":
        yield "ties: of n entries mergekit keeps exactly ⌊density·n⌋, evomerge those not below the"
        yield "k-th largest, k = density·n rounded: a few entries at the threshold can differ."


def has_density(method: str) -> bool:
    """Whether mergekit's method takes densities, and scales by `lambda`."""
    return method in _WITH_DENSITY


def _fits(group: GroupRecipe, method: str) -> bool:
    return group.method == method or (group.method, method) == ("linear", "task_arithmetic")


def _is_uneven(group: GroupRecipe) -> bool:
    value = group.values.get("coefficient", 0.0)
    return isinstance(value, tuple) and len(set(value) - {0.0}) > 1


def _per_expert(group: GroupRecipe, name: str, n_experts: int) -> tuple[float, ...]:
    value = group.values.get(name, 1.0)
    return value if isinstance(value, tuple) else (value,) * n_experts
