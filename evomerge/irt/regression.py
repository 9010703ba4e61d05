"""Ridge regression of the score on all items on the answers to the common items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evomerge.irt.estimator import (
    BoolArray,
    Estimates,
    FloatArray,
    checked_responses,
    require_seen,
)

PENALTIES = tuple(float(penalty) for penalty in np.geomspace(0.3, 300.0, 11))


@dataclass(frozen=True, eq=False)
class Ridge:
    """Fitted anew to whichever items are seen, with the penalty that leaves the least error out.

    Z = z̄ + (y_S − ȳ_S) β,  β = Z_Sᵀ (Z_S Z_Sᵀ + λ I)⁻¹ (z − z̄)

    λ minimises the leave-one-out error of the calibration models, whose root mean square is the
    standard error. `responses`: `(n_models, J)` of the calibration models.
    """

    responses: FloatArray

    @classmethod
    def fit(cls, responses: ArrayLike) -> "Ridge":
        """From models that answered all items."""
        return cls(checked_responses(responses))

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """One regression for each set of seen items."""
        require_seen(seen, 1, "a regression")
        mean, se = np.zeros(len(seen)), np.zeros(len(seen))
        masks, groups = np.unique(seen, axis=0, return_inverse=True)
        for group, mask in enumerate(masks):
            members = groups.ravel() == group
            mean[members], se[members] = self._regress(mask, right[members][:, mask])
        return Estimates.clipped(mean, se)

    def _regress(self, mask: BoolArray, answers: FloatArray) -> tuple[FloatArray, float]:
        known, scores = self.responses[:, mask], self.responses.mean(axis=1)
        centred, target = known - known.mean(axis=0), scores - scores.mean()
        rows, scales, columns = np.linalg.svd(centred, full_matrices=False)
        projected = rows.T @ target
        errors, slopes = [], []
        for penalty in PENALTIES:
            shrink = scales**2 / (scales**2 + penalty)
            leverage = (rows**2 * shrink).sum(axis=1) + 1.0 / len(target)
            residual = target - rows @ (shrink * projected)
            errors.append(float(np.mean((residual / np.maximum(1.0 - leverage, 1e-6)) ** 2)))
            slopes.append(columns.T @ (scales / (scales**2 + penalty) * projected))
        best = int(np.argmin(errors))
        mean = scores.mean() + (answers - known.mean(axis=0)) @ slopes[best]
        return mean, float(np.sqrt(errors[best]))
