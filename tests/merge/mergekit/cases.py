"""What is merged by both: configurations of mergekit, each with the recipe that says the same.

A number may be a `Gradient`, which mergekit spreads over the layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import find_method
from evomerge.records import GroupRecipe, ParameterValue, Recipe
from tests.merge.mergekit.families import EXPERTS, Family


@dataclass(frozen=True)
class Gradient:
    """Numbers for the first layer, the last, and between them at equal distances, linearly."""

    knots: tuple[float, ...]

    def at(self, layer: int, n_layers: int) -> float:
        """The number of a layer."""
        place = layer / max(n_layers - 1, 1) * (len(self.knots) - 1)
        left = min(int(place), len(self.knots) - 2)
        return self.knots[left] + (place - left) * (self.knots[left + 1] - self.knots[left])


Setting = float | bool | Gradient
OURS = {
    "weight": "coefficient",
    "density": "density",
    "gamma": "gamma",
    "epsilon": "epsilon",
    "lambda": "lambda",
    "t": "t",
    "select_topk": "select_topk",
    "r": "r",
    "alpha": "alpha",
}
"""Our names of mergekit's parameters."""


@dataclass(frozen=True)
class Case:
    """One merge.

    Args:
        name: its name in the fixtures.
        theirs: mergekit's method.
        ours: our row.
        each: mergekit's parameters of each model.
        all: mergekit's parameters of all of them together.
        instead: values of our row that are not mergekit's numbers by another name.
        experts: who is merged; for mergekit the base may be one of them.
        with_base: whether mergekit is given a base.
        families: on whose models.
        version: the version of mergekit that has it, or the commit after it.
    """

    name: str
    theirs: str
    ours: str
    each: Mapping[str, Sequence[Setting]] = field(default_factory=dict)
    all: Mapping[str, Setting] = field(default_factory=dict)
    instead: Mapping[str, ParameterValue] = field(default_factory=dict)
    experts: tuple[str, ...] = EXPERTS
    with_base: bool = True
    families: tuple[str, ...] = ("untied", "tied")
    version: str = "0.1.4"

    def config(self) -> dict[str, object]:
        """mergekit's configuration; a model is named as its folder."""
        models: list[dict[str, object]] = [
            {
                "model": expert,
                "parameters": {key: _plain(values[i]) for key, values in self.each.items()},
            }
            for i, expert in enumerate(self.experts)
        ]
        if self.with_base and "base" not in self.experts:
            models = [{"model": "base"}, *models]
        return {
            "merge_method": self.theirs,
            **({"base_model": "base"} if self.with_base else {}),
            "models": models,
            "parameters": {key: _plain(value) for key, value in self.all.items()},
            "dtype": "float32",
        }

    def recipe(self, family: Family) -> Recipe:
        """Ours, with a group a layer."""
        groups = layer_groups(family.shapes(), granularity=1, split_modules=False)
        return Recipe(self.experts, {name: self._group(name, family) for name in groups})

    def _group(self, name: str, family: Family) -> GroupRecipe:
        # mergekit plans what is in no layer with the first value of a gradient.
        layer = int(name.split("-")[-1]) if name.startswith("layers.") else 0

        def number(setting: Setting) -> float:
            if isinstance(setting, Gradient):
                return setting.at(layer, family.layers)
            return float(setting)

        each = {OURS[key]: tuple(map(number, values)) for key, values in self.each.items()}
        both = {OURS[key]: number(value) for key, value in self.all.items() if key in OURS}
        known = {parameter.name for parameter in find_method(self.ours).parameters}
        values = {"coefficient": 1.0, "lambda": 1.0, **each, **both, **self.instead}
        return GroupRecipe(self.ours, {k: v for k, v in values.items() if k in known})


def _plain(setting: Setting) -> object:
    return list(setting.knots) if isinstance(setting, Gradient) else setting


_W = (0.5, 0.8, 0.3)
_SIGNED = (0.7, -0.3, 1.0)
_TOTAL = sum(_W)
_P = (0.3, 0.5, 0.8)
_LAYERS = (Gradient((0.2, 1.0)), 0.6, Gradient((1.0, 0.1, 0.5)))
_DENSE_LAYERS = (Gradient((0.3, 0.9)), 0.5, Gradient((1.0, 0.4)))
_DELLA = {"epsilon": 0.15}  # mergekit's default
_FUSION = {"iqr": 1.5}
_ARC = {"coefficient": (0.7, 0.3)}
_RAM = {"epsilon": 8e-4, "r": 0.3, "alpha": 0.7}
_AFTER = "a6e4028"  # no release has them yet
_ALL = ("untied", "tied", "small")

CASES = {
    case.name: case
    for case in (
        Case("linear", "linear", "linear", {"weight": _W}, with_base=False),
        Case("linear_signed", "linear", "linear", {"weight": _SIGNED}, with_base=False),
        Case("linear_layers", "linear", "linear", {"weight": _LAYERS}, with_base=False),
        Case("ta", "task_arithmetic", "task_arithmetic", {"weight": _W}),
        Case("ta_signed", "task_arithmetic", "task_arithmetic", {"weight": _SIGNED}),
        Case("ta_layers", "task_arithmetic", "task_arithmetic", {"weight": _LAYERS}),
        Case(
            "ta_lambda",
            "task_arithmetic",
            "task_arithmetic",
            {"weight": _W},
            {"lambda": 0.6},
            {"coefficient": tuple(0.6 * w for w in _W)},
        ),
        Case(
            "ta_normalize",
            "task_arithmetic",
            "task_arithmetic",
            {"weight": _W},
            {"normalize": True, "lambda": 1.2},
            {"coefficient": tuple(1.2 * w / _TOTAL for w in _W)},
        ),
        Case("ties", "ties", "ties:mergekit", {"weight": (1.0,) * 3, "density": (0.5,) * 3}),
        Case("ties_weights", "ties", "ties:mergekit", {"weight": _W, "density": _P}),
        Case("ties_signed", "ties", "ties:mergekit", {"weight": _SIGNED, "density": _P}),
        Case("ties_dense", "ties", "ties:mergekit", {"weight": _W, "density": (1.0,) * 3}),
        Case("ties_layers", "ties", "ties:mergekit", {"weight": _LAYERS, "density": _DENSE_LAYERS}),
        Case(
            "ties_lambda", "ties", "ties:mergekit", {"weight": _W, "density": _P}, {"lambda": 0.6}
        ),
        Case("dare_linear", "dare_linear", "dare_linear:mergekit", {"weight": _W, "density": _P}),
        Case(
            "dare_linear_signed",
            "dare_linear",
            "dare_linear:mergekit",
            {"weight": _SIGNED, "density": _P},
            {"lambda": 0.6},
        ),
        Case("dare_ties", "dare_ties", "dare_ties:mergekit", {"weight": _W, "density": _P}),
        Case(
            "dare_ties_signed",
            "dare_ties",
            "dare_ties:mergekit",
            {"weight": _SIGNED, "density": _P},
            {"lambda": 0.6},
        ),
        Case("della", "della", "della:mergekit", {"weight": _W, "density": _P}, {}, _DELLA),
        Case(
            "della_signed",
            "della",
            "della:mergekit",
            {"weight": _SIGNED, "density": _P, "epsilon": (0.05, 0.3, 0.1)},
            {"lambda": 0.6},
        ),
        Case(
            "della_linear",
            "della_linear",
            "della_linear:mergekit",
            {"weight": _W, "density": _P},
            {},
            _DELLA,
        ),
        Case(
            "breadcrumbs",
            "breadcrumbs",
            "breadcrumbs",
            {"weight": _W, "density": _P, "gamma": (0.02, 0.05, 0.1)},
        ),
        Case(
            "breadcrumbs_signed",
            "breadcrumbs",
            "breadcrumbs",
            {"weight": _SIGNED, "density": (0.9, 0.6, 0.7), "gamma": (0.2, 0.15, 0.3)},
        ),
        Case(
            "breadcrumbs_ties",
            "breadcrumbs_ties",
            "breadcrumbs_ties",
            {"weight": _W, "density": _P, "gamma": (0.2, 0.15, 0.3)},
        ),
        Case("sce", "sce", "sce:mergekit", instead={"select_topk": 1.0}, families=_ALL),
        Case("sce_half", "sce", "sce:mergekit", all={"select_topk": 0.5}, families=_ALL),
        Case("model_stock", "model_stock", "model_stock", families=_ALL),
        Case(
            "model_stock_rows",
            "model_stock",
            "model_stock_rows",
            all={"filter_wise": True},
            families=_ALL,
        ),
        Case("nearswap", "nearswap", "nearswap", all={"t": 5e-4}, experts=("a",)),
        Case("arcee_fusion", "arcee_fusion", "arcee_fusion", instead=_FUSION, experts=("a",)),
        Case("slerp", "slerp", "slerp:mergekit", {}, {"t": 0.3}, _ARC, ("base", "a")),
        Case("nuslerp", "nuslerp", "nuslerp", {"weight": (0.7, 0.4)}, experts=("a", "b")),
        Case(
            "nuslerp_weights",
            "nuslerp",
            "slerp",
            {"weight": (0.7, 0.4)},
            experts=("a", "b"),
            with_base=False,
        ),
        Case("multislerp", "multislerp", "multislerp", {"weight": _W}),
        Case("karcher", "karcher", "karcher:mergekit", with_base=False),
        Case("ram", "ram", "ram", all={"epsilon": 8e-4}, version=_AFTER),
        Case("ramplus_tl", "ramplus_tl", "ram_plus:mergekit", all=_RAM, version=_AFTER),
    )
}
