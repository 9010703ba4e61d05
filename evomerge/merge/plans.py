"""A recipe's groups made ready: method looked up, values spread over experts, idle experts gone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from evomerge.errors import UsageError
from evomerge.merge.methods import METHODS, MergeMethod
from evomerge.merge.stages import Settings
from evomerge.records import GroupRecipe, ParameterValue, Recipe


@dataclass(frozen=True)
class GroupPlan:
    """How to merge the tensors of one group.

    Args:
        method: the record of stages.
        experts: names of the experts with a coefficient other than zero, sorted, so that results
            do not depend on the order in which a recipe lists them.
        coefficients: λᵢ of these experts, weighed.
        settings: all parameter values of these experts.
    """

    method: MergeMethod
    experts: tuple[str, ...]
    coefficients: tuple[float, ...]
    settings: tuple[Settings, ...]

    @property
    def copied_expert(self) -> str | None:
        """The expert that the merge equals, where it is one alone with coefficient 1, in full.

        θ_base + 1 · (θ_expert − θ_base) is θ_expert, but computing it would round.
        """
        whole = self.coefficients == (1.0,) and self.settings[0].get("density", 1.0) == 1.0
        return self.experts[0] if whole else None


def plan_recipe(recipe: Recipe, known_experts: Sequence[str]) -> dict[str, GroupPlan]:
    """The plan of every group of a recipe.

    Raises:
        UsageError: an expert or a method is not known, a parameter is missing or unknown, or a
            value is not usable.
    """
    for expert in recipe.experts:
        if expert not in known_experts:
            raise UsageError(
                f"the recipe merges expert '{expert}', but only {_listed(known_experts)} are open"
                f"{_nearest(expert, known_experts)}"
            )
    return {
        name: _plan_group(f"layer group {name}", group, recipe.experts)
        for name, group in recipe.groups.items()
    }


def _plan_group(where: str, group: GroupRecipe, experts: tuple[str, ...]) -> GroupPlan:
    method = METHODS.get(group.method)
    if method is None:
        raise UsageError(
            f"{where}: method '{group.method}' is not known, expected one of {_listed(METHODS)}"
            f"{_nearest(group.method, METHODS)}"
        )
    _check_names(where, method, group)
    values = {
        name: _spread(f"{where}: {method.name}.{name}", value, len(experts))
        for name, value in group.values.items()
    }
    coefficients = method.weigh(values["coefficient"])
    live = sorted(
        (expert, position) for position, expert in enumerate(experts) if coefficients[position]
    )
    return GroupPlan(
        method=method,
        experts=tuple(expert for expert, _ in live),
        coefficients=tuple(coefficients[position] for _, position in live),
        settings=tuple({name: values[name][position] for name in values} for _, position in live),
    )


def _check_names(where: str, method: MergeMethod, group: GroupRecipe) -> None:
    expected = {parameter.name for parameter in method.parameters}
    if set(group.values) != expected:
        raise UsageError(
            f"{where}: {method.name} was given {_listed(sorted(group.values))}, expected exactly "
            f"{_listed(sorted(expected))}; MergeMethod.defaults() has a value for each"
        )


def _spread(where: str, value: ParameterValue, n_experts: int) -> tuple[float, ...]:
    """The value for each expert, checked."""
    spread = value if isinstance(value, tuple) else (value,) * n_experts
    if len(spread) != n_experts:
        raise UsageError(
            f"{where} has {len(spread)} values, expected {n_experts}, one for each expert of the "
            "recipe, or a single number for all"
        )
    for number in spread:
        if not math.isfinite(number):
            raise UsageError(f"{where} is {number}, expected a finite number")
        if where.endswith(".density") and not 0.0 <= number <= 1.0:
            raise UsageError(f"{where} is {number}, expected a fraction between 0 and 1")
    return spread


def _listed(names: Sequence[str] | dict[str, MergeMethod]) -> str:
    return ", ".join(names) or "nothing"


def _nearest(name: str, names: Sequence[str] | dict[str, MergeMethod]) -> str:
    match = get_close_matches(name, list(names), n=1)
    return f"; did you mean '{match[0]}'?" if match else ""
