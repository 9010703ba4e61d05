"""Fitting a bank of items to the answers of some models that answered all of them.

The marginal likelihood is maximised by the EM algorithm of `mirt` with priors on the parameters,
because forty models say little about one item: a ~ LogNormal(0, 0.4²), b ~ N(0, 1.5²), ability
~ N(0, 1). `mirt` writes P = σ(a (θ − b)); a bank keeps d = −a b. The prior on a has no mass below
zero, so that the ability always points the way of right answers: an item on which the able do worse
comes out flat instead, and is flagged.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.errors import CalibrationError
from evomerge.irt.bank import ItemBank, ItemFlag

FloatArray = NDArray[np.float64]

MIN_MODELS = 8
MIN_VARYING_ITEMS = 3
"""With fewer than three items the parameters of a factor are not identified."""

DISCRIMINATION_LOG_SD = 0.4
DIFFICULTY_SD = 1.5
WEAK_DISCRIMINATION = 0.1
N_QUADRATURE = 61
LOG_POSTERIOR_TOLERANCE = 0.05
"""EM ends when a step gains less; a and b are then off by far less than their own uncertainty."""


def fit_bank(task: str, items: Sequence[int], responses: ArrayLike) -> ItemBank:
    """The bank of a task's items, calibrated on models that answered all of them.

    Deterministic: equal responses give an equal bank. An item on which all models agree says
    nothing about ability; it stays out of the fit and gets a flat curve, a = 0 and
    d = log((k + ½) / (n − k + ½)) for k of n models right.

    Args:
        items: `(n_items,)` document ids, ascending, the whole search set.
        responses: `(n_models, n_items)` 1 for right, 0 for wrong.

    Raises:
        CalibrationError: the shape does not fit, an entry is missing or not 0 or 1, an item comes
            twice, or there are too few models or too few items with variance.
    """
    answers = _checked(task, items, responses)
    varying = answers.min(axis=0) < answers.max(axis=0)
    if varying.sum() < MIN_VARYING_ITEMS:
        raise CalibrationError(
            f"task {task} has {int(varying.sum())} items on which the {len(answers)} models "
            f"differ, expected at least {MIN_VARYING_ITEMS}; choose a task that is neither too "
            "easy nor too hard for these models, or the estimator `mean`"
        )
    slopes, intercepts = np.zeros(len(items)), _log_odds(answers)
    slopes[varying], intercepts[varying] = _fit_2pl(answers[:, varying])
    return ItemBank(
        task=task,
        items=tuple(items),
        discrimination=tuple(slopes.tolist()),
        intercept=tuple(intercepts.tolist()),
        flags=_flags(answers, slopes, varying),
        n_models=len(answers),
    )


def _checked(task: str, items: Sequence[int], responses: ArrayLike) -> FloatArray:
    answers = np.asarray(responses, dtype=np.float64)
    if answers.ndim != 2 or answers.shape[1] != len(items):
        raise CalibrationError(
            f"the responses to task {task} have shape {answers.shape}, expected "
            f"(n_models, {len(items)}), one column for each item"
        )
    if list(items) != sorted(set(items)):
        raise CalibrationError(
            f"the {len(items)} items of task {task} come twice or out of order, expected ascending "
            "document ids; sort them, and the columns of the responses with them"
        )
    if len(answers) < MIN_MODELS:
        raise CalibrationError(
            f"task {task} was answered by {len(answers)} models, expected at least {MIN_MODELS}; "
            "calibrate on more candidates"
        )
    foreign = ~np.isin(answers, (0.0, 1.0))  # NaN too
    if foreign.any():
        model, column = np.argwhere(foreign)[0]
        raise CalibrationError(
            f"model {model} has {answers[model, column]:g} on item {items[column]} of task {task}, "
            "expected 0 or 1 from every model on every item; calibrate on models scored on all "
            "items with a metric that is right or wrong"
        )
    return answers


def _log_odds(answers: FloatArray) -> FloatArray:
    n_right = answers.sum(axis=0)
    return np.asarray(np.log((n_right + 0.5) / (len(answers) - n_right + 0.5)))


def _fit_2pl(answers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes a and intercepts d, each `(n_items,)`, of answers with variance in every column."""
    # Not at module top: scoring with a bank needs no mirt.
    from mirt import EMEstimator, TwoParameterLogistic
    from mirt.estimation.priors import LogNormalPrior, NormalPrior

    model = TwoParameterLogistic(n_items=answers.shape[1])
    estimator = EMEstimator(
        n_quadpts=N_QUADRATURE,
        tol=LOG_POSTERIOR_TOLERANCE,
        accelerate="squarem",
        compute_standard_errors=False,
        use_gpu=False,
        item_priors={
            "discrimination": LogNormalPrior(0.0, DISCRIMINATION_LOG_SD),
            "difficulty": NormalPrior(0.0, DIFFICULTY_SD),
        },
    )
    estimator.fit(model, answers.astype(np.int64))
    slopes = np.asarray(model.parameters["discrimination"], dtype=np.float64)
    difficulties = np.asarray(model.parameters["difficulty"], dtype=np.float64)
    return slopes, -slopes * difficulties


def _flags(
    answers: FloatArray, slopes: FloatArray, varying: NDArray[np.bool_]
) -> tuple[ItemFlag, ...]:
    """`weak` where a is near zero, or right answers do not go with right answers elsewhere."""
    rest = (
        answers.sum(axis=1, keepdims=True) - answers
    )  # (n_models, n_items) score without the item
    covariance = ((answers - answers.mean(axis=0)) * (rest - rest.mean(axis=0))).sum(axis=0)
    weak = (slopes < WEAK_DISCRIMINATION) | (covariance <= 0.0)
    return tuple(
        "no_variance" if not varies else "weak" if is_weak else "ok"
        for varies, is_weak in zip(varying, weak, strict=True)
    )
