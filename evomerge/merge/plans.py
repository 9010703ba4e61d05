"""A recipe's groups made ready: method looked up, values spread over experts, idle experts gone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from evomerge.errors import UsageError
from evomerge.merge.method import MergeMethod
from evomerge.merge.methods import find_method
from evomerge.merge.parameters import FRACTION, Parameter
from evomerge.merge.stages.kinds import Settings
from evomerge.records import GroupRecipe, ParameterValue, Recipe

_NO_SUM = 1e-9
"""A sum of coefficients so small beside the coefficients is rounding of one that is zero."""


@dataclass(frozen=True)
class GroupPlan:
    """How to merge the tensors of one group.

    Args:
        method: the record of stages.
        experts: names of the experts with a coefficient other than zero, sorted, so that results
            do not depend on the order in which a recipe lists them.
        coefficients: λᵢ of these experts.
        settings: all parameter values of these experts.
    """

    method: MergeMethod
    experts: tuple[str, ...]
    coefficients: tuple[float, ...]
    settings: tuple[Settings, ...]

    @property
    def copied_expert(self) -> str | None:
        """The expert that the merge equals, where it is one alone, merged in full.

        θ_base + 1 · (θ_expert − θ_base) is θ_expert, but computing it would round.
        """
        if len(self.experts) != 1:
            return None
        reduces = any(
            parameter.full is not None and self.settings[0][parameter.name] != parameter.full
            for parameter in self.method.parameters
            if not (self.method.only_ratios and parameter.name == "coefficient")
        )
        return None if reduces else self.experts[0]


KEPT = GroupPlan(find_method("task_arithmetic"), experts=(), coefficients=(), settings=())
"""Of a tensor that no group of the recipe holds: it stays the base's."""


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


def plan_tensors(
    groups: Mapping[str, GroupRecipe], experts: tuple[str, ...], known_tensors: Sequence[str]
) -> dict[str, GroupPlan]:
    """The plan of every tensor, each with values of its own.

    Raises:
        UsageError: the tensors are not the known ones, a method is not known, a parameter is
            missing or unknown, or a value is not usable.
    """
    odd = sorted(set(groups) ^ set(known_tensors))
    if odd:
        raise UsageError(
            f"{len(odd)} tensors are planned or in the base but not both, the first is '{odd[0]}'; "
            "expected a plan for each tensor of the base"
        )
    return {name: _plan_group(f"tensor {name}", group, experts) for name, group in groups.items()}


def _plan_group(where: str, group: GroupRecipe, experts: tuple[str, ...]) -> GroupPlan:
    try:
        method = find_method(group.method)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    _check_names(where, method, group)
    _check_number(where, method, experts)
    values = {
        parameter.name: _spread(
            f"{where}: {method.name}.{parameter.name}",
            parameter,
            group.values[parameter.name],
            len(experts),
        )
        for parameter in method.parameters
    }
    coefficients = values["coefficient"]
    live = sorted(
        (expert, position) for position, expert in enumerate(experts) if coefficients[position]
    )
    if method.only_ratios and _is_zero(coefficients):
        live = []
    return GroupPlan(
        method=method,
        experts=tuple(expert for expert, _ in live),
        coefficients=tuple(coefficients[position] for _, position in live),
        settings=tuple({name: values[name][position] for name in values} for _, position in live),
    )


def _is_zero(coefficients: Sequence[float]) -> bool:
    """Whether the sum of the coefficients is zero, or would be without rounding."""
    return abs(math.fsum(coefficients)) <= _NO_SUM * math.fsum(map(abs, coefficients))


def _check_number(where: str, method: MergeMethod, experts: tuple[str, ...]) -> None:
    if method.n_experts not in (None, len(experts)):
        raise UsageError(
            f"{where}: {method.name} was given {len(experts)} experts ({_listed(experts)}), "
            f"expected exactly {method.n_experts}; choose among them, or another method"
        )


def _check_names(where: str, method: MergeMethod, group: GroupRecipe) -> None:
    expected = {parameter.name for parameter in method.parameters}
    if set(group.values) != expected:
        raise UsageError(
            f"{where}: {method.name} was given {_listed(sorted(group.values))}, expected exactly "
            f"{_listed(sorted(expected))}; MergeMethod.defaults() has a value for each"
        )


def _spread(
    where: str, parameter: Parameter, value: ParameterValue, n_experts: int
) -> tuple[float, ...]:
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
        if not parameter.limits[0] <= number <= parameter.limits[1]:
            raise UsageError(f"{where} is {number}, expected {_range(parameter.limits)}")
    if not parameter.per_expert and len(set(spread)) > 1:
        raise UsageError(
            f"{where} has values that differ, {spread}, expected a single number: it holds for all "
            "experts together"
        )
    return spread


def _range(limits: tuple[float, float]) -> str:
    if limits == FRACTION:
        return "a fraction between 0 and 1"
    return f"a number from {limits[0]:g} to {limits[1]:g}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _nearest(name: str, names: Sequence[str]) -> str:
    match = get_close_matches(name, list(names), n=1)
    return f"; did you mean '{match[0]}'?" if match else ""
