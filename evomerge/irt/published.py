"""The estimators of tinyBenchmarks and MERGE^3, as their code has them, for comparison.

Polo et al. (2024), https://arxiv.org/abs/2402.14992; Mencattini et al. (2025),
https://arxiv.org/abs/2502.10436. None of them has a standard error: `se` is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.estimator import (
    BoolArray,
    Estimates,
    FloatArray,
    checked_responses,
    require_seen,
)
from evomerge.irt.traits import Traits, logistic

N_NEWTON = 25
CLOSE = 1e-4
"""Steps of Newton's method as small as this end it."""

BARELY = 1e-6
"""The precision of a prior that only keeps steps finite where a likelihood has no maximum."""


@dataclass(frozen=True, eq=False)
class Anchors:
    """Items that stand for clusters of items: Z = Σ w y, w the cluster's share of all items.

    `items` and `weights`: `(n,)` places and shares, which sum to 1.
    """

    items: NDArray[np.intp]
    weights: FloatArray

    @classmethod
    def fit(cls, embeddings: ArrayLike, n: int, rng: np.random.Generator) -> "Anchors":
        """k-means with k = n on `embeddings` `(J, n_features)`; each anchor is nearest its centre.

        tinyBenchmarks embeds an item as its answers by the calibration models, or as its IRT
        parameters.
        """
        points = np.asarray(embeddings, dtype=np.float64)
        centres = points[_spread_out(points, n, rng)]
        for _ in range(20):
            nearest = _distances(points, centres).argmin(axis=1)
            members = np.eye(n)[nearest]  # (J, n)
            sizes = members.sum(axis=0)[:, None]
            centres = np.where(sizes > 0, members.T @ points / np.maximum(sizes, 1), centres)
        distances = _distances(points, centres)
        shares = np.bincount(distances.argmin(axis=1), minlength=n) / len(points)
        items, heads = np.unique(distances.argmin(axis=0), return_inverse=True)
        weights = np.asarray(np.bincount(heads.ravel(), weights=shares), dtype=np.float64)
        return cls(np.asarray(items, dtype=np.intp), weights)

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The weighted mean of the anchors, or of those that were seen."""
        require_seen(seen[:, self.items], 1, "a mean of anchors")
        weights = seen[:, self.items] * self.weights
        mean = (weights * right[:, self.items]).sum(axis=1) / weights.sum(axis=1)
        return _without_se(mean)


@dataclass(frozen=True, eq=False)
class PIrt:
    """p-IRT: λ mean_seen(y) + (1 − λ) mean_unseen(P(θ̂)), λ = n / J, θ̂ the most likely ability."""

    traits: Traits

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The seen items as they are, the unseen ones at the ability found."""
        return _without_se(_fill_in(self.traits, seen, right, self._abilities(seen, right)))

    def _abilities(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        unit = np.eye(self.traits.nodes.shape[1])
        return _most_likely(self.traits, unit, seen, right, 0.0 * unit[0], BARELY * unit)


@dataclass(frozen=True, eq=False)
class MpIrt:
    """mp-IRT: p-IRT at θ = Σ_m x_m θ_m, the endpoints' abilities mixed by the most likely x.

    As published x is free, and the search for it starts at 1 / M. With `merges` it has a prior, the
    normal distribution of the x of merges whose answers to all items are known.

    `endpoints`: `(M, D)` θ_m. `centre` `(M,)` and `precision` `(M, M)`: the prior of x.
    """

    traits: Traits
    endpoints: FloatArray
    centre: FloatArray
    precision: FloatArray

    @classmethod
    def fit(cls, traits: Traits, endpoints: ArrayLike, merges: ArrayLike | None = None) -> "MpIrt":
        """From the answers to all items of the endpoints, `(M, J)`, and of `merges` if given."""
        abilities = _known_abilities(traits, checked_responses(endpoints) > 0.5)
        n_mixed = len(abilities)
        centre, precision = np.full(n_mixed, 1.0 / n_mixed), BARELY * np.eye(n_mixed)
        if merges is not None:
            targets = _known_abilities(traits, checked_responses(merges) > 0.5)
            # Least squares of small norm: endpoints may be more than their abilities span.
            gram = abilities @ abilities.T + 0.1 * np.eye(n_mixed)
            mixtures = np.linalg.solve(gram, abilities @ targets.T).T  # (n_merges, M)
            spread = np.cov(mixtures, rowvar=False) + 0.05 * np.eye(n_mixed)
            centre = np.asarray(mixtures.mean(axis=0), dtype=np.float64)
            precision = np.asarray(np.linalg.inv(spread), dtype=np.float64)
        return cls(traits, abilities, centre, precision)

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The seen items as they are, the unseen ones at the mixed ability."""
        abilities = _most_likely(
            self.traits, self.endpoints, seen, right, self.centre, self.precision
        )
        return _without_se(_fill_in(self.traits, seen, right, abilities))


@dataclass(frozen=True, eq=False)
class Generalised:
    """gp-IRT and gmp-IRT: λ Z_items + (1 − λ) Z_model, between the items' own mean and the model's.

    gmp-IRT fixes λ = ½; gp-IRT takes λ = b² / (b² + v / 4n) with b the model's error and v the
    variance of an answer, both of calibration models.
    """

    items: Anchors | None
    model: PIrt | MpIrt
    bias: float | None = None
    variance: float = 0.25

    @classmethod
    def gp_irt(cls, anchors: Anchors | None, model: PIrt, responses: ArrayLike) -> "Generalised":
        """λ from calibration `responses`: their variance, and p-IRT's error without seen items."""
        answers = checked_responses(responses)
        everything = np.ones(answers.shape, dtype=bool)
        fitted = logistic(
            model._abilities(everything, answers > 0.5) @ model.traits.slopes.T
            + model.traits.intercepts
        )
        bias = float(np.abs(fitted.mean(axis=1) - answers.mean(axis=1)).mean())
        return cls(anchors, model, bias, float(answers.var(axis=1).mean()))

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The mixture of both."""
        n_seen = require_seen(seen, 1, "a mean of items")
        if self.items is None:
            plain = (seen & right).sum(axis=1) / n_seen
        else:
            plain = self.items.estimates(seen, right).mean
        share = np.full(len(seen), 0.5)
        if self.bias is not None:
            share = self.bias**2 / (self.bias**2 + self.variance / (4.0 * n_seen))
        mean = share * plain + (1.0 - share) * self.model.estimates(seen, right).mean
        return _without_se(mean)


def _without_se(mean: FloatArray) -> Estimates:
    return Estimates.clipped(mean, np.full(len(mean), np.nan))


def _fill_in(
    traits: Traits, seen: BoolArray, right: BoolArray, abilities: FloatArray
) -> FloatArray:
    chance = logistic(abilities @ traits.slopes.T + traits.intercepts)  # (n_models, J)
    return np.asarray(np.where(seen, right, chance).mean(axis=1))


def _known_abilities(traits: Traits, right: BoolArray) -> FloatArray:
    """Abilities `(n_models, D)` of models that answered everything.

    With a weak prior, for an expert may have all of its own skill right: no maximum without it.
    """
    unit = np.eye(traits.nodes.shape[1])
    everything = np.ones(right.shape, dtype=bool)
    return _most_likely(traits, unit, everything, right, 0.0 * unit[0], 0.1 * unit)


def _most_likely(
    traits: Traits,
    directions: FloatArray,
    seen: BoolArray,
    right: BoolArray,
    centre: FloatArray,
    precision: FloatArray,
) -> FloatArray:
    """Abilities x @ directions, `(n_models, D)`, at the most likely x `(n_models, M)`.

    Newton's method from the prior's centre.
    """
    require_seen(seen, 1, "an ability")
    # In float32: a likelihood is flat enough around its maximum for rounding not to matter.
    slopes = (traits.slopes @ directions.T).astype(np.float32)  # (J, M): what x does to a logit
    intercepts = traits.intercepts.astype(np.float32)
    n_mixed = len(directions)
    x = np.tile(centre, (len(seen), 1))
    outer = (slopes[:, :, None] * slopes[:, None, :]).reshape(len(slopes), -1)
    asked, correct = seen.astype(np.float32), (seen & right).astype(np.float32)
    moving = np.arange(len(x))  # models whose maximum is still being sought
    for _ in range(N_NEWTON):
        here, told = x[moving], asked[moving]
        chance = logistic(here.astype(np.float32) @ slopes.T + intercepts)
        gradient = (correct[moving] - told * chance) @ slopes - (here - centre) @ precision
        curvature = (told * chance * (1.0 - chance) @ outer).reshape(len(here), n_mixed, n_mixed)
        # The last term keeps it solvable where all is flat.
        curvature = curvature + precision + 1e-3 * np.eye(n_mixed)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        x[moving] += step * np.minimum(1.0, 1.0 / np.maximum(longest, 1e-9))
        moving = moving[longest[:, 0] > CLOSE]
        if not len(moving):
            break
    return np.asarray(x @ directions)


def _spread_out(points: FloatArray, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """k-means++: the next start is drawn in proportion to the squared distance to the nearest."""
    chosen = [int(rng.integers(len(points)))]
    nearest = _distances(points, points[chosen])[:, 0]
    while len(chosen) < n:
        left = nearest + 1e-12
        left[chosen] = 0.0
        chosen.append(int(rng.choice(len(points), p=left / left.sum())))
        nearest = np.minimum(nearest, _distances(points, points[chosen[-1:]])[:, 0])
    return np.array(chosen, dtype=np.intp)


def _distances(points: FloatArray, centres: FloatArray) -> FloatArray:
    """Squared distances `(n_points, n_centres)`."""
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2.0 * points @ centres.T, 0.0))
