"""Each method of ours that mergekit has too: what it is called there, and its numbers.

A few of mergekit's methods have no weights; their experts take part with coefficient 1 or not at
all. Where a group's numbers cannot be said, `unsaid` tells why.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evomerge.records import GroupRecipe

_INSIDE = 0.999
"""mergekit refuses probabilities of 0 and 1, which `epsilon` may reach here."""


@dataclass(frozen=True)
class Entry:
    """The settings of one layer group in mergekit's words.

    Args:
        each: parameters of the experts, a number for each.
        common: parameters of all together.
        base_weight: the base's weight, where the method averages it with the experts.
    """

    each: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    common: Mapping[str, float] = field(default_factory=dict)
    base_weight: float = 0.0


class Numbers:
    """The values of a layer group, spread over the experts of the file."""

    def __init__(self, group: GroupRecipe, n_experts: int) -> None:
        self._group = group
        self._n = n_experts

    def each(self, name: str) -> tuple[float, ...]:
        """One value an expert."""
        value = self._group.values[name]
        return value if isinstance(value, tuple) else (value,) * self._n

    def one(self, name: str) -> float:
        """The value of all experts together."""
        return self.each(name)[0]

    @property
    def weights(self) -> tuple[float, ...]:
        """The coefficients."""
        return self.each("coefficient")

    def of_live(self, name: str) -> tuple[float, ...]:
        """The values of the experts with a coefficient other than zero."""
        pairs = zip(self.each(name), self.weights, strict=True)
        return tuple(value for value, weight in pairs if weight)


Say = Callable[[Numbers], Entry]
Unsaid = Callable[[Numbers], str]
"""Why mergekit cannot merge a group so, or nothing."""


@dataclass(frozen=True)
class Phrase:
    """How mergekit says a method.

    Args:
        method: its name there.
        say: the settings of a group.
        options: switches of the whole file.
        base: which model `base_model` is.
        weighted: whether experts have weights; those without take part in every group, or in none.
        unsaid: why a group's numbers cannot be said, or nothing.
        caveat: what differs whatever the numbers are.
    """

    method: str
    say: Say
    options: Mapping[str, bool] = field(default_factory=dict)
    base: Literal["base", "first expert", "none"] = "base"
    weighted: bool = True
    unsaid: Unsaid = lambda numbers: ""
    caveat: str = ""


def _linear(numbers: Numbers) -> Entry:
    is_base = math.fsum(numbers.weights) == 0.0  # the base stands in where nobody is merged
    return Entry({"weight": numbers.weights}, base_weight=float(is_base))


def _weights(*names: str, common: Sequence[str] = ()) -> Say:
    """The coefficients as weights, other parameters by their own names."""

    def say(numbers: Numbers) -> Entry:
        each = {"weight": numbers.weights, **{name: numbers.each(name) for name in names}}
        return Entry(each, {name: numbers.one(name) for name in common})

    return say


def _ties(numbers: Numbers) -> Entry:
    # mergekit divides by the sum of the agreeing weights, so that only their ratios count.
    scale = max(numbers.weights, key=abs)
    weights = numbers.weights if scale else (1.0,) * len(numbers.weights)
    return Entry({"weight": weights, "density": numbers.each("density")}, {"lambda": scale})


def _dare_linear(numbers: Numbers) -> Entry:
    """What is kept is divided by the density, which the weights do."""
    densities = numbers.each("density")
    pairs = zip(numbers.weights, densities, strict=True)
    weights = tuple(weight / density if density else 0.0 for weight, density in pairs)
    return Entry({"weight": weights, "density": densities})


def _dare_ties(numbers: Numbers) -> Entry:
    said = _dare_linear(numbers)
    return Entry(said.each, {"lambda": max(said.each["weight"], key=abs)})


def _della(numbers: Numbers) -> Entry:
    said = _weights("density", common=["lambda"])(numbers)
    pairs = zip(numbers.each("epsilon"), said.each["density"], strict=True)
    epsilons = (min(epsilon, _INSIDE * p, _INSIDE * (1.0 - p)) for epsilon, p in pairs)
    return Entry({**said.each, "epsilon": tuple(epsilons)}, said.common)


def _arc(numbers: Numbers) -> Entry:
    first, second = numbers.weights
    return Entry({}, {"t": second / (first + second) if first + second else 0.0})


def _plain(*common: str) -> Say:
    return lambda numbers: Entry({}, {name: numbers.one(name) for name in common})


def _nearswap(numbers: Numbers) -> Entry:
    return Entry({}, {"t": numbers.of_live("t")[0] if numbers.of_live("t") else 0.0})


def _uneven(name: str, otherwise: str) -> Unsaid:
    """Unsaid where live experts have unlike values."""

    def unsaid(numbers: Numbers) -> str:
        return otherwise if len(set(numbers.of_live(name))) > 1 else ""

    return unsaid


def _any(*reasons: Unsaid) -> Unsaid:
    return lambda numbers: next(filter(None, (reason(numbers) for reason in reasons)), "")


def _cancelling(numbers: Numbers) -> str:
    if math.fsum(numbers.weights):
        return ""
    return "coefficients whose sum is zero leave the base in evomerge, and have no meaning there"


def _unweighted(numbers: Numbers) -> str:
    if set(numbers.weights) == {1.0}:
        return ""
    return "it has no weights: every expert takes part as with coefficient 1"


def _unequal(numbers: Numbers) -> str:
    if len(set(numbers.weights)) == 1 and numbers.weights[0]:
        return ""
    return "it has no weights: every expert takes part alike"


def _not_alone(numbers: Numbers) -> str:
    if numbers.weights == (1.0,):
        return ""
    return "it takes one expert, as with coefficient 1"


def _other_factor(numbers: Numbers) -> str:
    return "" if numbers.one("iqr") == 1.5 else "its `iqr` is always 1.5"


_LARGEST = (
    "where the expert with the largest coefficient is not elected, mergekit scales by that one "
    "still, evomerge by the largest of the elected (unlike coefficients)"
)
_THRESHOLD = (
    "ties: of n entries mergekit keeps exactly ⌊density·n⌋, evomerge those not below the k-th "
    "largest, k = density·n rounded: a few entries at the threshold can differ."
)
_DENSITIES = (
    "mergekit averages with weights divided by the densities, evomerge with the coefficients "
    "(unlike densities)"
)
_MASKS = (
    "{method}: mergekit draws its own random masks, evomerge's come from the recipe's seed: alike "
    "in distribution, not equal."
)
_OUTLIERS = (
    "{method}: mergekit leaves tensors of fewer than 1 / gamma entries at the base, evomerge drops "
    "no outlier there."
)
_LATER = "{method} is in no release of mergekit up to 0.1.4."
_SCALED = {"normalize": False}
_BY_RATIO = {"normalize": True}

PHRASES: dict[str, Phrase] = {
    "linear": Phrase("linear", _linear, _BY_RATIO, base="base"),
    "task_arithmetic": Phrase("task_arithmetic", _weights(), _SCALED),
    "ties": Phrase(
        "ties", _ties, _BY_RATIO, unsaid=_uneven("coefficient", _LARGEST), caveat=_THRESHOLD
    ),
    "ties:mergekit": Phrase("ties", _weights("density", common=["lambda"]), _BY_RATIO),
    "dare_linear": Phrase(
        "dare_linear", _dare_linear, {**_SCALED, "rescale": False}, caveat=_MASKS
    ),
    "dare_ties": Phrase(
        "dare_ties",
        _dare_ties,
        {**_BY_RATIO, "rescale": False},
        unsaid=_any(_uneven("coefficient", _LARGEST), _uneven("density", _DENSITIES)),
        caveat=_MASKS,
    ),
    "dare_linear:mergekit": Phrase(
        "dare_linear", _weights("density", common=["lambda"]), _SCALED, caveat=_MASKS
    ),
    "dare_ties:mergekit": Phrase(
        "dare_ties", _weights("density", common=["lambda"]), _SCALED, caveat=_MASKS
    ),
    "della:mergekit": Phrase("della", _della, _BY_RATIO, caveat=_MASKS),
    "della_linear:mergekit": Phrase("della_linear", _della, _SCALED, caveat=_MASKS),
    "breadcrumbs": Phrase("breadcrumbs", _weights("density", "gamma"), _SCALED, caveat=_OUTLIERS),
    "breadcrumbs_ties": Phrase(
        "breadcrumbs_ties", _weights("density", "gamma"), _SCALED, caveat=_OUTLIERS
    ),
    "sce:mergekit": Phrase(
        "sce",
        _plain("select_topk"),
        weighted=False,
        unsaid=_unequal,
        caveat="sce: where the mean squares of the changes sum to less than 10⁻⁶ mergekit weighs "
        "the experts equally, evomerge always by them.",
    ),
    "model_stock": Phrase(
        "model_stock",
        _plain(),
        {"filter_wise": False},
        weighted=False,
        unsaid=_unweighted,
        caveat="model_stock: mergekit leaves tensors with the shortest changes at the base, and "
        "moves away from experts that are opposed; evomerge does neither.",
    ),
    "model_stock_rows": Phrase(
        "model_stock",
        _plain(),
        {"filter_wise": True},
        weighted=False,
        unsaid=_unweighted,
        caveat="model_stock: mergekit leaves rows with the shortest changes at the base, and moves "
        "away from experts that are opposed; evomerge does neither.",
    ),
    "nearswap": Phrase("nearswap", _nearswap, weighted=False, unsaid=_not_alone),
    "arcee_fusion": Phrase(
        "arcee_fusion",
        _plain(),
        weighted=False,
        unsaid=_any(_not_alone, _other_factor),
        caveat="arcee_fusion: mergekit takes divergences in float32, where those of a light "
        "fine-tune are rounding noise, and samples the quartiles of large tensors.",
    ),
    "slerp": Phrase("nuslerp", _weights(), base="none", unsaid=_cancelling),
    "slerp:mergekit": Phrase(
        "slerp", _arc, base="first expert", weighted=False, unsaid=_cancelling
    ),
    "nuslerp": Phrase("nuslerp", _weights(), unsaid=_cancelling),
    "multislerp": Phrase("multislerp", _weights(), unsaid=_cancelling),
    "multislerp:mergekit": Phrase("multislerp", _weights(), base="none", unsaid=_cancelling),
    "karcher:mergekit": Phrase(
        "karcher",
        _plain(),
        base="none",
        weighted=False,
        unsaid=_unequal,
        caveat="karcher: mergekit leaves out experts whose cosine with the mean rounds to 1.",
    ),
    "ram": Phrase("ram", _plain("epsilon"), weighted=False, unsaid=_unweighted, caveat=_LATER),
    "ram_plus:mergekit": Phrase(
        "ramplus_tl",
        _plain("epsilon", "r", "alpha"),
        weighted=False,
        unsaid=_unweighted,
        caveat=_LATER,
    ),
}
"""Our methods that mergekit has too."""
