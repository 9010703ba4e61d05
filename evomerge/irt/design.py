"""Estimators that trust the random choice of items and no model of the answers.

`Mean` of common random items, `Stratified` mean, and the difference estimator `Difference` (GREG),
which takes a prediction for every item and corrects it by what random items say.
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
    share_se,
)


@dataclass(frozen=True)
class Mean:
    """The mean of the seen items; unbiased over the random choice of them."""

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The mean of the seen items; its standard error knows that the items are finite."""
        n_seen = require_seen(seen, 1, "their mean").astype(np.float64)
        n_right = (seen & right).sum(axis=1).astype(np.float64)
        return Estimates(n_right / n_seen, share_se(n_right, n_seen, seen.shape[1]))


@dataclass(frozen=True, eq=False)
class Stratified:
    """The strata's means weighted by their sizes; `strata`: `(J,)` stratum of each item.

    Z = Σ_h (J_h / J) mean_h. Unbiased when items are random within strata and each has one. A
    stratum without a seen item takes the mean of all seen items.
    """

    strata: NDArray[np.intp]

    @classmethod
    def by_difficulty(cls, responses: ArrayLike, n_strata: int = 5) -> "Stratified":
        """Strata of equal size in the order of the calibration models' share of right answers."""
        shares = checked_responses(responses).mean(axis=0)
        ranks = np.argsort(np.argsort(shares, kind="stable"), kind="stable")
        return cls(np.asarray(ranks * n_strata // len(shares), dtype=np.intp))

    def choose(self, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """`n` random items `(n,)`, shared among the strata in proportion, as near as it goes."""
        order = rng.permutation(len(self.strata))
        order = order[np.argsort(self.strata[order], kind="stable")]
        starts = (np.arange(n) + rng.random()) * len(order) / n  # systematic, hence proportional
        return order[starts.astype(np.intp)]

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The stratified mean of each model."""
        require_seen(seen, 1, "a stratified mean")
        n_items = seen.shape[1]
        whole = Mean().estimates(seen, right)
        mean, variance = np.zeros(len(seen)), np.zeros(len(seen))
        for stratum in np.unique(self.strata):
            inside = self.strata == stratum
            share = inside.sum() / n_items
            n_seen = seen[:, inside].sum(axis=1).astype(np.float64)
            n_right = (seen & right)[:, inside].sum(axis=1).astype(np.float64)
            empty = n_seen == 0
            own = n_right / np.maximum(n_seen, 1.0)
            mean += share * np.where(empty, whole.mean, own)
            se = np.where(empty, 0.5, share_se(n_right, n_seen, int(inside.sum())))
            variance += (share * se) ** 2
        return Estimates(mean, np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class Difference:
    """The difference estimator on given predictions, `(J,)` or `(n_models, J)`.

        Z = mean_all(p) + mean_seen(y − p),   Var = s²_seen(y − p) / n · (1 − n / J)

    Särndal, Swensson and Wretman (1992), chapter 6. Unbiased over random items whatever the
    predictions, if they do not depend on which items were seen; the better they are, the narrower.
    """

    predictions: FloatArray

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The predictions' mean, corrected by the seen items' residuals."""
        n_seen = require_seen(seen, 2, "a difference estimate").astype(np.float64)
        predictions = np.broadcast_to(self.predictions, seen.shape)
        residuals = np.where(seen, right - predictions, 0.0)
        correction = residuals.sum(axis=1) / n_seen
        squares = (residuals**2).sum(axis=1) - n_seen * correction**2
        # One answer in twice the prediction's own doubt keeps the variance from vanishing where
        # all that was seen came out as predicted.
        doubt = (predictions * (1.0 - predictions)).mean(axis=1)
        variance = (np.maximum(squares, 0.0) + doubt) / n_seen
        finite = np.maximum(1.0 - n_seen / seen.shape[1], 0.0)
        return Estimates(predictions.mean(axis=1) + correction, np.sqrt(variance / n_seen * finite))
