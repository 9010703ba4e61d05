"""The merges that every report shows beside the front."""

from collections.abc import Mapping

from evomerge.merge.methods import LINEAR, TASK_ARITHMETIC, MergeMethod
from evomerge.records import GroupRecipe, ParameterValue, Recipe

RESERVED_NAMES = ("base", "uniform", "default")
"""Names of baselines, which no expert may have."""


def baseline_recipes(
    methods: Mapping[str, MergeMethod], experts: tuple[str, ...], seed: int
) -> dict[str, Recipe]:
    """The base, each expert by its name, the uniform average, and the methods at their defaults.

    Args:
        methods: the method of each layer group at its default.
        experts: the experts' names.
        seed: the recipes' seed.
    """

    def everywhere(method: MergeMethod, coefficients: tuple[float, ...]) -> Recipe:
        group = GroupRecipe(method.name, {"coefficient": coefficients})
        return Recipe(experts, dict.fromkeys(methods, group), seed)

    def one_hot(chosen: str) -> tuple[float, ...]:
        return tuple(float(expert == chosen) for expert in experts)

    at_defaults = {group: _default(method, len(experts)) for group, method in methods.items()}
    return {
        "base": everywhere(TASK_ARITHMETIC, (0.0,) * len(experts)),
        **{expert: everywhere(LINEAR, one_hot(expert)) for expert in experts},
        "uniform": everywhere(LINEAR, (1.0,) * len(experts)),
        "default": Recipe(experts, at_defaults, seed),
    }


def _default(method: MergeMethod, n_experts: int) -> GroupRecipe:
    values: dict[str, ParameterValue] = {
        parameter.name: (parameter.default,) * n_experts
        if parameter.per_expert
        else parameter.default
        for parameter in method.parameters
    }
    return GroupRecipe(method.name, values)
