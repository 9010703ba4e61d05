"""The models of answers that a calibration chooses from, each fitted to the one `Traits`.

`2pl`, `3pl` and their multidimensional kin are fitted by the EM algorithm of `mirt` with priors,
because forty models say little about one item: a ~ LogNormal(0, 0.4²), b ~ N(0, 1.5²) and
c ~ Beta(2, 8) in one dimension, a ~ N(0.8, 1) and d ~ N(0, 2²) in more. The `traits` models are our
own (`irt.traits`). `mirt` writes P = c + (1 − c) σ(a (θ − b)) and takes θ ~ N(0, 1); d = −a b here,
and the abilities get the distribution that the models show.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from evomerge.errors import UsageError
from evomerge.irt.adaptive import N_FOLDS
from evomerge.irt.estimator import FloatArray
from evomerge.irt.fitting import fit_traits
from evomerge.irt.precision import GUESSING_PRIOR
from evomerge.irt.traits import N_NODES, Traits, normal_nodes, with_histogram

DISCRIMINATION_LOG_SD = 0.4
DIFFICULTY_SD = 1.5
MIN_VARYING_ITEMS = 3
"""With fewer the parameters of a factor are not identified: `mirt` is not asked."""

N_QUADRATURE = {1: 21, 2: 9, 3: 5}
"""Quadrature points along each factor."""

EM_SETTINGS = {
    "max_iter": 40,
    "item_optim_maxiter": 5,
    "item_optim_ftol": 1e-4,
    "compute_standard_errors": False,
    "use_gpu": False,
}
"""Coarse, from a start that is good: a tenth of the time, and the log-posterior lower by a
thirtieth of a unit an item, where one unit is a standard error and a half of one parameter."""

TOLERANCE = 0.0025
"""EM ends when a step gains less log-posterior an item."""


@dataclass(frozen=True)
class AnswerModel:
    """A model of answers by name.

    `n_parameters` of an item order the models by complexity; `fit` takes `(n_models, J)` answers
    of zeros and ones; `n_folds` of a cross-validation are worth its time.
    """

    name: str
    n_parameters: int
    fit: Callable[[FloatArray], Traits]
    n_folds: int = N_FOLDS


def _fit_2pl(answers: FloatArray) -> Traits:
    return _fit_one_factor(answers, guessing=False)


def _fit_3pl(answers: FloatArray) -> Traits:
    return _fit_one_factor(answers, guessing=True)


def _fit_one_factor(answers: FloatArray, *, guessing: bool) -> Traits:
    # Not at module top: scoring with a bank needs no mirt.
    from mirt import EMEstimator, ThreeParameterLogistic, TwoParameterLogistic
    from mirt.estimation.priors import BetaPrior, LogNormalPrior, NormalPrior

    varying = _varying(answers)
    flat = _flat(answers, 1, guessing=guessing)
    if varying.sum() < MIN_VARYING_ITEMS:
        return flat
    start = fit_traits(answers[:, varying], 1)
    slopes = np.clip(start.slopes[:, 0], 0.2, 4.0)
    values = {
        "discrimination": slopes,
        "difficulty": np.clip(-start.intercepts / slopes, -5.5, 5.5),
    }
    priors = {
        "discrimination": LogNormalPrior(0.0, DISCRIMINATION_LOG_SD),
        "difficulty": NormalPrior(0.0, DIFFICULTY_SD),
    }
    if guessing:
        values["guessing"] = np.full(len(slopes), 0.1)
        priors["guessing"] = BetaPrior(*GUESSING_PRIOR)
    model = (ThreeParameterLogistic if guessing else TwoParameterLogistic)(n_items=len(slopes))
    estimator = EMEstimator(
        n_quadpts=N_QUADRATURE[1], item_priors=priors, tol=TOLERANCE * len(slopes), **EM_SETTINGS
    )
    estimator.fit(model, answers[:, varying].astype(np.int64), start=values)
    fitted = {name: np.asarray(model.parameters[name], np.float64) for name in values}
    flat.slopes[varying, 0] = fitted["discrimination"]
    flat.intercepts[varying] = -fitted["discrimination"] * fitted["difficulty"]
    if flat.guessing is not None:
        flat.guessing[varying] = fitted["guessing"]
    return with_histogram(flat, answers)


def _fit_factors(answers: FloatArray, n_factors: int) -> Traits:
    from mirt import EMEstimator, MultidimensionalModel
    from mirt.estimation.priors import NormalPrior

    varying = _varying(answers)
    flat = _flat(answers, n_factors, guessing=False)
    if varying.sum() < MIN_VARYING_ITEMS:
        return flat
    start = fit_traits(answers[:, varying], n_factors)
    model = MultidimensionalModel(n_items=len(start.slopes), n_factors=n_factors)
    priors = {"slopes": NormalPrior(0.8, 1.0), "intercepts": NormalPrior(0.0, 2.0)}
    values = {
        "slopes": np.clip(start.slopes, -4.0, 4.0),
        "intercepts": np.clip(start.intercepts, -5.5, 5.5),
    }
    tol = TOLERANCE * len(start.slopes)
    estimator = EMEstimator(
        n_quadpts=N_QUADRATURE[n_factors], item_priors=priors, tol=tol, **EM_SETTINGS
    )
    estimator.fit(model, answers[:, varying].astype(np.int64), start=values)
    flat.slopes[varying] = np.asarray(model.parameters["slopes"], np.float64)
    flat.intercepts[varying] = np.asarray(model.parameters["intercepts"], np.float64)
    return with_histogram(flat, answers)


def _varying(answers: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(answers.min(axis=0) < answers.max(axis=0))


def _flat(answers: FloatArray, n_traits: int, *, guessing: bool) -> Traits:
    """Items that ability has nothing to do with, d = log((k + ½) / (n − k + ½)) for k right."""
    n_models, n_items = answers.shape
    n_right = answers.sum(axis=0)
    return Traits(
        np.zeros((n_items, n_traits)),
        np.asarray(np.log((n_right + 0.5) / (n_models - n_right + 0.5))),
        normal_nodes(N_NODES, n_traits).round(4).astype(np.float32),
        np.full(N_NODES, -np.log(N_NODES)),
        np.zeros(n_items) if guessing else None,
    )


def _ours(n_traits: int) -> AnswerModel:
    return AnswerModel(f"traits-{n_traits}", n_traits + 1, partial(fit_traits, n_traits=n_traits))


def _mirt(n_factors: int) -> AnswerModel:
    fit = partial(_fit_factors, n_factors=n_factors)
    return AnswerModel(f"mirt-{n_factors}", n_factors + 1, fit, n_folds=2)


MODELS: Mapping[str, AnswerModel] = {
    model.name: model
    for model in (
        AnswerModel("2pl", 2, _fit_2pl, n_folds=3),
        _ours(1),
        AnswerModel("3pl", 3, _fit_3pl, n_folds=3),
        _ours(2),
        _mirt(2),
        _ours(3),
        _mirt(3),
        _ours(4),
    )
}
"""By name, the simpler first."""

DEFAULT_MODELS = ("2pl", "traits-1", "3pl", "traits-2", "traits-3", "traits-4")
"""Those that take seconds; `mirt` with several factors takes minutes."""


def models_named(names: Sequence[str]) -> tuple[AnswerModel, ...]:
    """The models of these names, the simpler first.

    Raises:
        UsageError: there is no model of a name, or no name.
    """
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        found = f"no model {unknown[0]!r}" if unknown else "no model"
        raise UsageError(f"found {found} to choose from, expected some of {', '.join(MODELS)}")
    return tuple(model for name, model in MODELS.items() if name in names)
