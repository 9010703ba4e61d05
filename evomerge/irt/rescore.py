"""Scores after selection: fresh random items take the luck out of the ones that chose."""

import numpy as np

from evomerge.errors import ScoringError
from evomerge.irt.estimator import BoolArray, Estimates
from evomerge.irt.traits import Traits

DOUBT = 1.0 / 12.0
"""The variance of a residual that is anywhere within an interval of length one."""


def rescored(traits: Traits, seen: BoolArray, fresh: BoolArray, right: BoolArray) -> Estimates:
    """The score of selected models on all items, unbiased whatever they were selected by.

    The items seen before selection count as they are; of the U others n fresh ones were drawn at
    random, and correct what the model predicts from the seen ones alone (difference estimator):

        Z = (Σ_seen y + Σ_unseen p + U mean_fresh(y − p)) / J
        Var(Z) = (U / J)² (Σ_fresh (r − r̄)² + 1/12) / n² · (1 − n / U),  r = y − p

    Both what was seen and the predictions are fixed when the fresh items are drawn, so there is no
    winner's curse in Z. The twelfth is the doubt that remains when all n answers came as predicted,
    as they do of the best models, which get next to everything right.

    Args:
        seen: `(n_models, J)` items that were asked before the selection.
        fresh: `(n_models, J)` random ones of the others, at least 2 a model.
        right: `(n_models, J)` answers to both.

    Raises:
        ScoringError: fresh items were seen before, or are fewer than 2.
    """
    if (seen & fresh).any():
        row = int((seen & fresh).any(axis=1).argmax())
        raise ScoringError(
            f"model {row} was scored again on {int((seen & fresh)[row].sum())} items that it had "
            "seen before it was selected, expected none; draw fresh items from the others"
        )
    n = fresh.sum(axis=1).astype(np.float64)
    if n.min() < 2:
        raise ScoringError(
            f"model {int(n.argmin())} was scored again on {int(n.min())} items, expected at least "
            "2; draw more fresh items"
        )
    predictions = traits.predictions(seen, right)
    n_unseen = (~seen).sum(axis=1)
    residuals = np.where(fresh, right - predictions, 0.0)
    correction = residuals.sum(axis=1) / n
    squares = np.maximum((residuals**2).sum(axis=1) - n * correction**2, 0.0)
    variance = (squares + DOUBT) / n
    expected = np.where(seen, right, predictions).sum(axis=1)
    n_items = seen.shape[1]
    mean = (expected + n_unseen * correction) / n_items
    se = n_unseen / n_items * np.sqrt(variance / n * np.maximum(1.0 - n / n_unseen, 0.0))
    return Estimates(mean, se)
