"""Recipes that `export` writes as configurations of mergekit, one a method that it can say.

Layer groups have values of their own where mergekit lets them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from evomerge.export.mergekit import ModelPaths, mergekit_config
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import find_method
from evomerge.records import GroupRecipe, ParameterValue, Recipe
from tests.merge.mergekit.families import EXPERTS, FAMILIES

FAMILY = FAMILIES["tied"]


@dataclass(frozen=True)
class Export:
    """One recipe: a method with values that change from layer group to layer group.

    Args:
        method: our row.
        values: its values, of the first group.
        slopes: what is added to some of them in each group after the first.
        experts: who is merged.
        version: the version of mergekit that has it, or the commit after it.
    """

    method: str
    values: Mapping[str, ParameterValue]
    slopes: Mapping[str, float]
    experts: tuple[str, ...] = EXPERTS
    version: str = "0.1.4"

    def recipe(self) -> Recipe:
        """The recipe for the models of `FAMILY`."""
        names = layer_groups(FAMILY.shapes(), granularity=1, split_modules=False)
        return Recipe(self.experts, {name: self._group(i) for i, name in enumerate(names)})

    def _group(self, i: int) -> GroupRecipe:
        defaults = find_method(self.method).defaults()
        values: dict[str, ParameterValue] = {"coefficient": 1.0, **defaults, **self.values}
        for name, slope in self.slopes.items():
            value = values[name]
            moved = tuple(x + i * slope for x in value) if isinstance(value, tuple) else value
            values[name] = moved if isinstance(moved, tuple) else moved + i * slope
        return GroupRecipe(self.method, values)

    def text(self) -> str:
        """The configuration, in which a model is named as its folder."""
        paths = ModelPaths("base", {name: name for name in self.experts})
        return mergekit_config(self.recipe(), paths, FAMILY.shapes(), dtype="float32")


_W = {"coefficient": (0.5, 0.8, 0.3)}
_P = {"density": (0.3, 0.5, 0.8)}
_MOVING = {"coefficient": 0.1, "density": 0.05}
_ONE = {"coefficient": 1.0}

EXPORTS = {
    export.method: export
    for export in (
        Export("linear", _W, {"coefficient": 0.1}),
        Export("task_arithmetic", {"coefficient": (0.5, -0.3, 0.8)}, {"coefficient": 0.1}),
        Export("ties", {"coefficient": 0.6, "density": 0.5}, {"coefficient": 0.1}),
        Export("ties:mergekit", {**_W, **_P}, {**_MOVING, "lambda": -0.1}),
        Export("dare_linear", {**_W, **_P}, _MOVING),
        Export("dare_ties", {"coefficient": 0.6, "density": 0.5}, _MOVING),
        Export("dare_linear:mergekit", {**_W, **_P}, {**_MOVING, "lambda": -0.1}),
        Export("dare_ties:mergekit", {**_W, **_P}, {**_MOVING, "lambda": -0.1}),
        Export("della:mergekit", {**_W, **_P}, {**_MOVING, "epsilon": 0.01}),
        Export("della_linear:mergekit", {**_W, **_P}, {**_MOVING, "epsilon": 0.01}),
        Export("breadcrumbs", {**_W, **_P, "gamma": 0.15}, _MOVING),
        Export("breadcrumbs_ties", {**_W, **_P, "gamma": 0.15}, _MOVING),
        Export("sce:mergekit", {**_ONE, "select_topk": 0.4}, {"select_topk": 0.1}),
        Export("model_stock", _ONE, {}),
        Export("model_stock_rows", _ONE, {}),
        Export("nearswap", {**_ONE, "t": 2e-3}, {"t": 1e-3}, experts=("b",)),
        Export("arcee_fusion", _ONE, {}, experts=("c",)),
        Export("slerp", {"coefficient": (0.7, 0.4)}, {"coefficient": 0.1}, experts=("a", "c")),
        Export(
            "slerp:mergekit", {"coefficient": (0.7, 0.4)}, {"coefficient": 0.1}, experts=("a", "c")
        ),
        Export("nuslerp", {"coefficient": (0.7, 0.4)}, {"coefficient": 0.1}, experts=("a", "c")),
        Export("multislerp", _W, {"coefficient": 0.1}),
        Export("multislerp:mergekit", _W, {"coefficient": 0.1}),
        Export("karcher:mergekit", _ONE, {}),
        Export("ram", {**_ONE, "epsilon": 8e-3}, {"epsilon": 1e-3}, version="a6e4028"),
        Export("ram_plus:mergekit", {**_ONE, "epsilon": 8e-3}, {"r": 0.2}, version="a6e4028"),
    )
}
"""By our name of the method."""
