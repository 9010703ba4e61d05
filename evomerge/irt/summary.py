"""A bank along one line of abilities: what its items look like, and which of them tell least.

With several traits the line is the mean direction of the items' slopes, on which a model's score
depends most; one unit of it is a standard deviation of the abilities' normal prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.irt.estimator import FloatArray
from evomerge.irt.trait_bank import TraitBank
from evomerge.irt.traits import Traits

REACH = 4.0
N_POINTS = 81
FLATTEST = 0.05
"""A slope below this has no difficulty worth the name."""

OUTERMOST = 6.0
"""Difficulties beyond are drawn there."""


@dataclass(frozen=True)
class ItemSummary:
    """One item: how likely a model is to be right, and what its answer tells.

    Attributes:
        item: document id.
        flag: what is wrong with it, or `ok`.
        share: of the models that it was fitted to, expected to be right.
        slope: a along the line; `slope_se` is its standard error.
        difficulty: where the curve is steepest; None where it is flat.
        guessing: lower asymptote.
        information: Fisher's about the ability, averaged over the abilities.
    """

    item: int
    flag: str
    share: float
    slope: float
    slope_se: float
    difficulty: float | None
    guessing: float
    information: float


@dataclass(frozen=True, eq=False)
class BankSummary:
    """What there is to be seen of a bank.

    Attributes:
        items: in the bank's order.
        abilities: `(N_POINTS,)` points of the line.
        curves: `(N_POINTS, J)` probability of a right answer there.
        information: `(N_POINTS,)` of all items together.
        ability_points: `(n_nodes,)` where the models are, with `ability_shares` adding up to 1.
    """

    items: tuple[ItemSummary, ...]
    abilities: FloatArray
    curves: FloatArray
    information: FloatArray
    ability_points: FloatArray
    ability_shares: FloatArray

    @property
    def ability_mean(self) -> float:
        """The mean of the abilities."""
        return float(self.ability_points @ self.ability_shares)

    @property
    def ability_sd(self) -> float:
        """Their standard deviation."""
        squares = (self.ability_points - self.ability_mean) ** 2
        return float(np.sqrt(squares @ self.ability_shares))

    def worst(self, n: int) -> list[int]:
        """Places of the worst items: flagged ones first, then those that tell least."""
        badness = {"negative": 0, "no_variance": 1}

        def key(place: int) -> tuple[int, float]:
            item = self.items[place]
            by = item.slope if item.flag == "negative" else item.information
            return badness.get(item.flag, 2), by

        return sorted(range(len(self.items)), key=key)[:n]

    def best(self, n: int) -> list[int]:
        """Places of the items that tell most."""
        return self._by_information()[:n]

    def typical(self, n: int) -> list[int]:
        """Places of items in the middle of those that are in order."""
        ranked = self._by_information()
        start = max((len(ranked) - n) // 2, 0)
        return ranked[start : start + n]

    def _by_information(self) -> list[int]:
        fine = [place for place, item in enumerate(self.items) if item.flag == "ok"]
        return sorted(fine, key=lambda place: -self.items[place].information)


def summary_of(bank: TraitBank) -> BankSummary:
    """What there is to be seen of a bank."""
    traits = bank.estimator.traits
    direction = _direction(traits)
    nodes = traits.nodes.astype(np.float64)  # in single precision P would be rounded to 1
    points, shares = nodes @ direction, np.exp(traits.log_prior)
    abilities = np.linspace(-REACH, REACH, N_POINTS, dtype=np.float64)
    line = np.outer(abilities, direction)  # (N_POINTS, D)
    information = _information(traits, line, direction)
    average = shares @ _information(traits, nodes, direction)  # (J,)
    slopes = traits.slopes @ direction
    n_traits = len(direction)
    # Along the line, the errors of the slopes taken as independent.
    slope_ses = np.sqrt((bank.errors[:, :n_traits] ** 2) @ direction**2)
    items = tuple(
        ItemSummary(
            item=item,
            flag=bank.flags.get(place, "ok"),
            share=float(traits.shares[place]),
            slope=float(slopes[place]),
            slope_se=float(slope_ses[place]),
            difficulty=_difficulty(float(slopes[place]), float(traits.intercepts[place])),
            guessing=0.0 if traits.guessing is None else float(traits.guessing[place]),
            information=float(average[place]),
        )
        for place, item in enumerate(bank.items)
    )
    curves = np.asarray(traits.chance(line), dtype=np.float64)
    return BankSummary(items, abilities, curves, information.sum(axis=1), points, shares)


def _direction(traits: Traits) -> FloatArray:
    """The unit vector `(D,)` of the mean slope."""
    mean = traits.slopes.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > 0.0 else np.eye(len(mean))[0])


def _information(traits: Traits, abilities: FloatArray, direction: FloatArray) -> FloatArray:
    """(∂P / ∂t)² / (P (1 − P)) of each item at abilities `(n, D)`, `(n, J)`."""
    right = traits.chance(abilities)
    guessing = 0.0 if traits.guessing is None else traits.guessing
    curve = (right - guessing) / (1.0 - guessing)
    slope = (1.0 - guessing) * curve * (1.0 - curve) * (traits.slopes @ direction)
    return np.asarray(slope**2 / (right * (1.0 - right)))


def _difficulty(slope: float, intercept: float) -> float | None:
    if abs(slope) < FLATTEST:
        return None
    return float(np.clip(-intercept / slope, -OUTERMOST, OUTERMOST))


def places_of_curves(summary: BankSummary, n: int) -> dict[str, Sequence[int]]:
    """The items whose curves are worth a look, by what they are an example of."""
    return {"best": summary.best(n), "typical": summary.typical(n), "worst": summary.worst(n)}
