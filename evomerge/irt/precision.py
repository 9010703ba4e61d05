"""How well the parameters of items are known from the models that they were fitted to."""

import numpy as np
from numpy.typing import ArrayLike

from evomerge.irt.estimator import FloatArray, checked_responses
from evomerge.irt.fitting import INTERCEPT_SD, SLOPE_SD
from evomerge.irt.traits import Traits, logistic

GUESSING_PRIOR = (2.0, 8.0)
"""Of a Beta distribution, for lower asymptotes where a model has them."""


def parameter_errors(traits: Traits, responses: ArrayLike) -> FloatArray:
    """Standard errors of a, d and c if there is one, on the models that they were fitted to.

    The inverse of Σ_θ n(θ) ∂P ∂Pᵀ / (P (1 − P)) and the prior's curvature, n(θ) the abilities'
    posterior: too small by what is not known of these models' abilities, which is little when they
    answered all items. The priors are those of `fit_traits`, the one of c is Beta(2, 8).

    Returns:
        `(J, D + 1)`, or `(J, D + 2)` with lower asymptotes.
    """
    answers = checked_responses(responses)
    everything = np.ones(answers.shape, dtype=bool)
    mass = traits.posterior(everything, answers > 0.5).sum(axis=0)
    precision = _prior_precision(traits)
    errors = [
        np.sqrt(np.linalg.inv(_information(traits, mass, item) + np.diag(own)).diagonal())
        for item, own in enumerate(precision)
    ]
    return np.array(errors)


def _information(traits: Traits, mass: FloatArray, item: int) -> FloatArray:
    """Fisher's information on one item's parameters, `(D + 1, D + 1)` or `(D + 2, D + 2)`."""
    nodes = traits.nodes.astype(np.float64)  # in single precision P would be rounded to 1
    curve = logistic(nodes @ traits.slopes[item] + traits.intercepts[item])  # (n_nodes,)
    guessing = 0.0 if traits.guessing is None else traits.guessing[item]
    right = guessing + (1.0 - guessing) * curve
    slope = (1.0 - guessing) * curve * (1.0 - curve)  # ∂P / ∂z
    gradient = slope[:, None] * np.column_stack([nodes, np.ones(len(curve))])
    if traits.guessing is not None:
        gradient = np.column_stack([gradient, 1.0 - curve])
    return np.asarray(gradient.T @ (gradient * (mass / (right * (1.0 - right)))[:, None]))


def _prior_precision(traits: Traits) -> FloatArray:
    n_items, n_traits = traits.slopes.shape
    rows = np.tile([SLOPE_SD**-2] * n_traits + [INTERCEPT_SD**-2], (n_items, 1))
    if traits.guessing is None:
        return rows
    within = np.clip(traits.guessing, 1e-3, 1.0 - 1e-3)
    hits, misses = GUESSING_PRIOR
    curvature = (hits - 1.0) / within**2 + (misses - 1.0) / (1.0 - within) ** 2
    return np.column_stack([rows, curvature])
