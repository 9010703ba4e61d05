"""Our own fit of `Traits`: abilities and items in turn, then a cloud of nodes around models."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.estimator import FloatArray, checked_responses
from evomerge.irt.traits import Traits, logistic, normal_nodes

N_TRAITS = 4
N_STEPS = 25
SLOPE_SD = 1.0
INTERCEPT_SD = 2.0

N_AROUND = 4096
"""Nodes of a cloud: with a hundred answers few are near enough to a model to matter, and with 512
the error of an estimate is half as large again."""

FAR_SHARE = 0.1
FAR_SD = 1.5
"""The share of a cloud's nodes that are around no model, and how far they spread."""


def fit_traits(responses: ArrayLike, n_traits: int = N_TRAITS) -> Traits:
    """Fit the model to models that answered all items.

    Abilities and items in turn, each to the maximum of the joint posterior (constrained joint
    likelihood of Chen, Li and Zhang, 2019, https://doi.org/10.1007/s11336-018-9646-5, with priors
    in place of bounds). Deterministic. Abilities are N(0, I); slopes have the prior N(ā, 1) and
    intercepts N(d̄, 2²) around their own means over the items, which is what makes forty models
    enough. An item on which all agree is drawn to the others' slope and to an intercept far out.

    Args:
        responses: `(n_models, J)` 1 for right, 0 for wrong.
        n_traits: D, at least 1.

    Raises:
        ScoringError: an entry is missing or not 0 or 1.
    """
    # In single precision but for what is solved: half the time, and far finer than the data.
    answers = checked_responses(responses).astype(np.float32)
    parameters, abilities = _start(answers, n_traits)  # (J, D + 1), (n_models, D)
    for _ in range(N_STEPS):
        abilities = _able(abilities, parameters, answers)
        abilities, parameters = _standardised(abilities, parameters)
        parameters = _maximise(parameters, abilities, answers)
    nodes = cloud(_able(abilities, parameters, answers))
    log_prior = np.full(len(nodes), -np.log(len(nodes)))
    return Traits(parameters[:, :-1], parameters[:, -1], nodes, log_prior)


def cloud(abilities: FloatArray, n_nodes: int = N_AROUND) -> NDArray[np.float32]:
    """Equally likely nodes around abilities `(n_models, D)`, `(n_nodes, D)`.

    Normal around each in turn, n^(−1 / (D + 4)) as far as their own spread: Scott's rule. Four
    digits, so that a file keeps them in little space.
    """
    n_models, n_traits = abilities.shape
    spread = np.atleast_2d(np.cov(abilities, rowvar=False)) + 1e-6 * np.eye(n_traits)
    near = n_models ** (-1.0 / (n_traits + 4.0)) * np.linalg.cholesky(spread)
    points = normal_nodes(n_nodes, n_traits)
    points = points[np.random.default_rng(0).permutation(n_nodes)]
    n_far = round(FAR_SHARE * n_nodes)
    around = abilities[np.arange(n_nodes - n_far) % n_models] + points[n_far:] @ near.T
    nodes = np.concatenate([around, FAR_SD * points[:n_far]])
    return np.asarray(nodes.round(4), dtype=np.float32)


def _start(answers: NDArray[np.float32], n_traits: int) -> tuple[FloatArray, FloatArray]:
    """Log-odds as intercepts, the leading principal directions as slopes, their scores as θ."""
    n_models, n_items = answers.shape
    share, n_right = answers.mean(axis=0), answers.sum(axis=0)
    parameters, abilities = np.zeros((n_items, n_traits + 1)), np.zeros((n_models, n_traits))
    parameters[:, -1] = np.log((n_right + 0.5) / (n_models - n_right + 0.5))
    scores, scales, directions = np.linalg.svd(answers - share, full_matrices=False)
    for trait in range(min(n_traits, len(scales))):
        loading = directions[trait] * scales[trait] / np.sqrt(n_models)
        # A direction's sign is arbitrary; ability shall point the way of right answers.
        sign = 1.0 if loading.sum() >= 0.0 else -1.0
        parameters[:, trait] = sign * loading / np.maximum(share * (1.0 - share), 0.05)
        abilities[:, trait] = sign * scores[:, trait] * np.sqrt(n_models)
    return parameters, abilities


def _standardised(abilities: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same chances with abilities of mean zero and unit covariance."""
    centre = abilities.mean(axis=0)
    scales, directions = np.linalg.eigh(
        np.atleast_2d(np.cov(abilities, rowvar=False)) + 1e-6 * np.eye(abilities.shape[1])
    )
    root = directions * np.sqrt(scales) @ directions.T
    intercepts = parameters[:, -1] + parameters[:, :-1] @ centre
    moved = np.column_stack([parameters[:, :-1] @ root, intercepts])
    return (abilities - centre) @ np.linalg.inv(root), moved


def _able(
    abilities: FloatArray, parameters: FloatArray, answers: NDArray[np.float32]
) -> FloatArray:
    """A Newton step of every model's ability, whose prior is N(0, I)."""
    precision = np.ones(abilities.shape[1])
    offset = parameters[:, -1].astype(np.float32)
    return _newton(abilities, parameters[:, :-1], answers, offset, 0.0, precision, reach=1.0)


def _maximise(
    parameters: FloatArray, abilities: FloatArray, answers: NDArray[np.float32]
) -> FloatArray:
    """A Newton step of every item's penalised logistic regression on the abilities."""
    design = np.column_stack([abilities, np.ones(len(abilities))])
    precision = np.array([SLOPE_SD**-2] * abilities.shape[1] + [INTERCEPT_SD**-2])
    centre = parameters.mean(axis=0)
    return _newton(parameters, design, answers.T, np.float32(0.0), centre, precision, reach=1.5)


def _newton(
    found: FloatArray,
    design: FloatArray,
    answers: NDArray[np.float32],
    offset: NDArray[np.float32] | np.float32,
    centre: FloatArray | float,
    precision: FloatArray,
    *,
    reach: float,
) -> FloatArray:
    """A step, at most `reach` long, of many penalised logistic regressions on one design.

    Args:
        found: `(n, K)` coefficients so far, with prior N(centre, 1 / precision).
        design: `(m, K)`; `answers`: `(n, m)`; `offset`: `(m,)` of the logits.
    """
    single = design.astype(np.float32)
    chance = logistic(found.astype(np.float32) @ single.T + offset)  # (n, m)
    gradient = ((answers - chance) @ single).astype(np.float64) - (found - centre) * precision
    products = (single[:, :, None] * single[:, None, :]).reshape(len(single), -1)
    shape = (*found.shape, found.shape[1])
    curvature = (chance * (1.0 - chance) @ products).reshape(shape) + np.diag(precision)
    step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
    longest = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(found + step * np.minimum(1.0, reach / np.maximum(longest, 1e-9)))
