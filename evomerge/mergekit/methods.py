"""The methods of mergekit: which parameters they have, and how each is merged here."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evomerge.errors import UsageError
from evomerge.merge.catalogue.mergekit_options import LINEAR_UNNORMALISED, option_name
from evomerge.merge.parameters import FRACTION, NOT_NEGATIVE
from evomerge.records import GroupRecipe, ParameterValue

_ANY = (float("-inf"), float("inf"))
_NO_SUM = 1e-9
"""A sum of weights so small beside them is rounding of one that is zero."""


@dataclass(frozen=True)
class Option:
    """A parameter of a method of mergekit.

    Args:
        name: its key below `parameters`.
        default: its value where the file has none; None where the file must have one.
        per_model: whether each model has its own.
        limits: the least and the greatest value that can be expressed here, both included.
        is_switch: whether it is `true` or `false`.
        note: why it is limited, for the message that refuses other values.
    """

    name: str
    default: float | None
    per_model: bool = False
    limits: tuple[float, float] = _ANY
    is_switch: bool = False
    note: str = ""


@dataclass(frozen=True)
class Values:
    """The values of a method's options for one tensor.

    Args:
        shared: those that all models share.
        by_model: those that each model has, in the models' order, without the base where the
            method has one.
        has_base: whether there is a base.
    """

    shared: Mapping[str, float]
    by_model: Mapping[str, tuple[float, ...]]
    has_base: bool

    def is_on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.shared[name] != 0.0


@dataclass(frozen=True)
class MergekitMethod:
    """How mergekit's method is merged here.

    Args:
        options: its parameters.
        base: what `base_model` is: needed, the origin of task vectors; needed, one of two models
            between which to `blend`; optional; or `ignored`, which makes it a model like others.
        n_models: how many models it takes beside the base, at least and at most.
        row: the row of our table with its values, for the values of one tensor.
    """

    options: tuple[Option, ...]
    base: Literal["needed", "blended", "optional", "ignored"]
    n_models: tuple[int, int]
    row: Callable[[Values], GroupRecipe]

    def option(self, name: str) -> Option | None:
        """The option of this name, if it has one."""
        return next((option for option in self.options if option.name == name), None)


def _switch(name: str, default: bool) -> Option:
    return Option(name, float(default), limits=FRACTION, is_switch=True)


def _number(name: str, default: float | None, limits: tuple[float, float] = _ANY) -> Option:
    return Option(name, default, limits=limits)


def _own(name: str, default: float | None, limits: tuple[float, float] = _ANY) -> Option:
    return Option(name, default, per_model=True, limits=limits)


def _only(name: str, default: float, note: str, *, is_switch: bool = False) -> Option:
    return Option(name, default, limits=(default, default), is_switch=is_switch, note=note)


def _plain(row: str, names: Sequence[str] = (), **fixed: float) -> Callable[[Values], GroupRecipe]:
    """A row whose parameters are the options `names`, and others at fixed values."""

    def translate(values: Values) -> GroupRecipe:
        own: dict[str, ParameterValue] = {name: values.shared[name] for name in names}
        return GroupRecipe(row, {"coefficient": 1.0, **fixed, **own})

    return translate


def _weighted(with_base: str, without_base: str) -> Callable[[Values], GroupRecipe]:
    """A row that depends on whether there is a base, with relative weights."""

    def translate(values: Values) -> GroupRecipe:
        row = with_base if values.has_base else without_base
        return GroupRecipe(row, {"coefficient": _ratios(values)})

    return translate


def _linear(values: Values) -> GroupRecipe:
    if values.is_on("normalize"):
        return GroupRecipe("linear", {"coefficient": _ratios(values)})
    return GroupRecipe(LINEAR_UNNORMALISED.name, {"coefficient": values.by_model["weight"]})


def _ratios(values: Values) -> tuple[float, ...]:
    """The weights, which must not sum to zero since they are divided by their sum."""
    weights = values.by_model["weight"]
    if abs(math.fsum(weights)) <= _NO_SUM * math.fsum(map(abs, weights)):
        raise UsageError(
            f"the weights {', '.join(f'{w:g}' for w in weights)} sum to zero, expected another sum "
            "since they are divided by it; change one of them"
        )
    return weights


def _slerp(values: Values) -> GroupRecipe:
    t = values.shared["t"]
    return GroupRecipe("slerp:mergekit", {"coefficient": (1.0 - t, t)})


def _model_stock(values: Values) -> GroupRecipe:
    row = "model_stock_rows" if values.is_on("filter_wise") else "model_stock"
    return GroupRecipe(row, {"coefficient": 1.0})


def _task_arithmetic(values: Values) -> GroupRecipe:
    """θ_base + λ Σ wᵢ τᵢ, divided by Σ wᵢ with `normalize` where that is not zero."""
    weights = values.by_model["weight"]
    whole = sum(weights) if values.is_on("normalize") else 1.0
    scale = values.shared["lambda"] / (whole or 1.0)
    return GroupRecipe(
        "task_arithmetic", {"coefficient": tuple(scale * weight for weight in weights)}
    )


def _sparse(method: str, *own: str) -> Callable[[Values], GroupRecipe]:
    """A method on sparsified task vectors, whose own options have our parameters' names."""

    def translate(values: Values) -> GroupRecipe:
        normalize, rescale = values.is_on("normalize"), values.is_on("rescale")
        name = option_name(method, normalize=normalize, rescale=rescale)
        numbers: dict[str, ParameterValue] = {n: values.by_model[n] for n in ("density", *own)}
        return GroupRecipe(
            name,
            {
                "coefficient": values.by_model["weight"],
                "lambda": values.shared["lambda"],
                **numbers,
            },
        )

    return translate


_WEIGHT = _own("weight", None)
_INT8_MASK = _switch("int8_mask", False)
"""How mergekit keeps its masks in memory: results do not depend on it."""


def _delta_options(
    *, normalize: bool, rescale: bool, own: Sequence[Option] = ()
) -> tuple[Option, ...]:
    """The options of mergekit's methods on task vectors."""
    return (
        _WEIGHT,
        _own("density", 1.0, FRACTION),
        *own,
        _switch("normalize", normalize),
        _switch("rescale", rescale),
        _number("lambda", 1.0),
        _INT8_MASK,
    )


_ANY_NUMBER = (1, 1000)
_EPSILON = _own("epsilon", 0.15, FRACTION)
_GAMMA = _own("gamma", 0.01, FRACTION)
_CHANGE = _number("epsilon", 1e-5, NOT_NEGATIVE)
_BY_TENSOR = "evomerge takes vectors of whole tensors here"
_CONVERGED = "evomerge goes on until the mean is exact"

MERGEKIT_METHODS: dict[str, MergekitMethod] = {
    "linear": MergekitMethod((_WEIGHT, _switch("normalize", True)), "ignored", (2, 1000), _linear),
    "slerp": MergekitMethod((_number("t", None),), "blended", (1, 1), _slerp),
    "nuslerp": MergekitMethod(
        (
            _WEIGHT,
            _only("nuslerp_flatten", 1.0, _BY_TENSOR, is_switch=True),
            _switch("nuslerp_row_wise", False),
        ),
        "optional",
        (2, 2),
        _weighted("nuslerp", "slerp"),
    ),
    "multislerp": MergekitMethod(
        (
            _WEIGHT,
            _only("normalize_weights", 1.0, "evomerge takes ratios of weights", is_switch=True),
            _only("eps", 1e-8, "evomerge needs no such guard"),
        ),
        "optional",
        (2, 1000),
        _weighted("multislerp", "multislerp:mergekit"),
    ),
    "karcher": MergekitMethod(
        (
            Option("max_iter", 10.0, limits=(10.0, float("inf")), note=_CONVERGED),
            Option("tol", 1e-5, limits=(0.0, 1e-5), note=_CONVERGED),
        ),
        "ignored",
        (2, 1000),
        _plain("karcher:mergekit"),
    ),
    "task_arithmetic": MergekitMethod(
        _delta_options(normalize=False, rescale=False), "needed", _ANY_NUMBER, _task_arithmetic
    ),
    "ties": MergekitMethod(
        _delta_options(normalize=True, rescale=False), "needed", _ANY_NUMBER, _sparse("ties")
    ),
    "dare_linear": MergekitMethod(
        _delta_options(normalize=False, rescale=True), "needed", _ANY_NUMBER, _sparse("dare_linear")
    ),
    "dare_ties": MergekitMethod(
        _delta_options(normalize=False, rescale=True), "needed", _ANY_NUMBER, _sparse("dare_ties")
    ),
    "della": MergekitMethod(
        _delta_options(normalize=True, rescale=True, own=(_EPSILON,)),
        "needed",
        _ANY_NUMBER,
        _sparse("della", "epsilon"),
    ),
    "della_linear": MergekitMethod(
        _delta_options(normalize=False, rescale=True, own=(_EPSILON,)),
        "needed",
        _ANY_NUMBER,
        _sparse("della_linear", "epsilon"),
    ),
    "breadcrumbs": MergekitMethod(
        _delta_options(normalize=False, rescale=False, own=(_GAMMA,)),
        "needed",
        _ANY_NUMBER,
        _sparse("breadcrumbs", "gamma"),
    ),
    "breadcrumbs_ties": MergekitMethod(
        _delta_options(normalize=False, rescale=False, own=(_GAMMA,)),
        "needed",
        _ANY_NUMBER,
        _sparse("breadcrumbs_ties", "gamma"),
    ),
    "sce": MergekitMethod(
        (_number("select_topk", 1.0, FRACTION), _INT8_MASK),
        "needed",
        _ANY_NUMBER,
        _plain("sce:mergekit", ("select_topk",)),
    ),
    "ram": MergekitMethod((_CHANGE,), "needed", _ANY_NUMBER, _plain("ram", ("epsilon",))),
    "ramplus_tl": MergekitMethod(
        (_CHANGE, _number("r", 0.1), _number("alpha", 0.2, NOT_NEGATIVE)),
        "needed",
        _ANY_NUMBER,
        _plain("ram_plus:mergekit", ("epsilon", "r", "alpha")),
    ),
    "model_stock": MergekitMethod(
        (_switch("filter_wise", False),), "needed", (2, 1000), _model_stock
    ),
    "nearswap": MergekitMethod(
        (_number("t", None, NOT_NEGATIVE),), "needed", (1, 1), _plain("nearswap", ("t",))
    ),
    "arcee_fusion": MergekitMethod((), "needed", (1, 1), _plain("arcee_fusion", iqr=1.5)),
    "passthrough": MergekitMethod((_own("scale", 1.0),), "ignored", (1, 1), _plain("linear")),
}
"""mergekit's name of a method → how it is merged here."""
