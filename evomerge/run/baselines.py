"""The merges that every report shows beside the front."""

from collections.abc import Mapping

from evomerge.merge.methods import LINEAR, TASK_ARITHMETIC, MergeMethod
from evomerge.records import GroupRecipe, ParameterValue, Recipe

RESERVED_NAMES = ("base", "uniform", "default")
"""Names of baselines, which no expert may have."""


def baseline_recipes(
    method: MergeMethod, experts: tuple[str, ...], groups: tuple[str, ...], seed: int
) -> dict[str, Recipe]:
    """The base, each expert by its name, the uniform average, and the method at its defaults."""

    def everywhere(name: str, values: Mapping[str, ParameterValue]) -> Recipe:
        return Recipe(experts, {group: GroupRecipe(name, values) for group in groups}, seed)

    def one_hot(chosen: str) -> tuple[float, ...]:
        return tuple(float(expert == chosen) for expert in experts)

    nothing = everywhere(TASK_ARITHMETIC.name, {"coefficient": (0.0,) * len(experts)})
    alone = {
        expert: everywhere(LINEAR.name, {"coefficient": one_hot(expert)}) for expert in experts
    }
    uniform = everywhere(LINEAR.name, {"coefficient": (1.0,) * len(experts)})
    defaults: dict[str, ParameterValue] = {
        parameter.name: (parameter.default,) * len(experts)
        if parameter.per_expert
        else parameter.default
        for parameter in method.parameters
    }
    return {
        "base": nothing,
        **alone,
        "uniform": uniform,
        "default": everywhere(method.name, defaults),
    }
