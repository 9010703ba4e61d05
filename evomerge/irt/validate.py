"""Which model of answers a bank takes, and what it is worth: cross-validation over models.

Every candidate is fitted without a fold of the calibration models and then asks them as in a search
(`adaptive.try_out`). The simplest one is taken whose error is within one standard error of the
best's, paired by the models left out (Breiman et al., 1984, section 3.4.3).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.adaptive import (
    N_COMMON,
    N_FOLDS,
    SIZES,
    Adaptive,
    answers_of_enough,
    n_draws,
    try_out,
    validation_of,
)
from evomerge.irt.estimator import FloatArray
from evomerge.irt.models import AnswerModel
from evomerge.irt.regression import Ridge


@dataclass(frozen=True)
class Trial:
    """How an estimator did on calibration models left out of its fit.

    A model of answers that takes long to fit leaves out fewer models; all are compared on those
    that every one left out.

    Attributes:
        name: `mean`, `difference` or `ridge` of random items, or a model of answers.
        errors: mean absolute error of the score, by number of items.
        log_likelihood: of one answer of a model left out, on average; None where there is no model.
        excess: by how much the loss exceeds that of the best model of answers, with its standard
            error `excess_se`; None where there is no model. The loss is the mean absolute error
            over all sizes, and without sizes minus the log-likelihood.
    """

    name: str
    errors: Mapping[int, float]
    log_likelihood: float | None = None
    excess: float | None = None
    excess_se: float | None = None


@dataclass(frozen=True, eq=False)
class Chosen:
    """A fitted estimator, the name of its model of answers, and all that were tried."""

    estimator: Adaptive
    model: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """What a model of answers did with models left out; NaN for those that it never left out.

    `rows`: size → `(5, n_models, n_draws)` of `try_out`; `log_likelihood`: `(n_models,)` an answer.
    """

    rows: Mapping[int, FloatArray]
    log_likelihood: FloatArray

    @property
    def loss(self) -> FloatArray:
        """`(n_models,)`, see `Trial`."""
        if not self.rows:
            return -self.log_likelihood
        return np.asarray(np.mean([np.abs(r[0]).mean(axis=1) for r in self.rows.values()], axis=0))


def choose_estimator(
    responses: ArrayLike,
    models: Sequence[AnswerModel],
    *,
    sizes: Sequence[int] = SIZES,
    barred: Sequence[int] = (),
    seed: int = 0,
    on_fit: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """The estimator with the model of answers that cross-validation chooses, fitted to all models.

    Args:
        responses: `(n_models, J)` 1 for right, 0 for wrong.
        models: to choose from, the simpler first; at least one.
        sizes: numbers of items to cross-validate at; those of J and more are left out.
        barred: places not to be chosen adaptively (`flag_items`).
        on_fit: hears the name of each model before each of its fits.

    Raises:
        ScoringError: an entry is missing or not 0 or 1, or there are fewer models than folds.
    """
    answers = answers_of_enough(responses)
    validator = _Validator(answers, sizes, barred, seed)
    found = {model.name: validator.left_out(model, on_fit) for model in models}
    losses = np.array([result.loss for result in found.values()])
    common = np.asarray(~np.isnan(losses).any(axis=0))
    excess = _excess(found, common)
    chosen = next(model for model in models if excess[model.name][0] <= excess[model.name][1])
    on_fit(chosen.name)
    own = found[chosen.name]
    validation = tuple(
        validation_of(size, rows[:, ~np.isnan(rows).any(axis=(0, 2))].reshape(len(rows), -1))
        for size, rows in own.rows.items()
    )
    estimator = Adaptive(chosen.fit(answers), validation, tuple(barred))
    trials = [
        Trial("mean", _mean_errors(own.rows, 2, common)),
        Trial("difference", _mean_errors(own.rows, 3, common)),
        Trial("ridge", validator.ridge_errors(min(model.n_folds for model in models))),
    ]
    for name, result in found.items():
        likelihood = float(result.log_likelihood[common].mean())
        errors = _mean_errors(result.rows, 0, common)
        trials.append(Trial(name, errors, likelihood, *excess[name]))
    return Chosen(estimator, chosen.name, tuple(trials))


class _Validator:
    """The folds and the random orders of items, the same for all that is compared."""

    def __init__(
        self, answers: FloatArray, sizes: Sequence[int], barred: Sequence[int], seed: int
    ) -> None:
        self._answers = answers
        self._sizes = sorted(size for size in sizes if N_COMMON <= size < answers.shape[1])
        self._barred = barred
        self._seed = seed
        self._folds = np.random.default_rng(seed).permutation(len(answers)) % N_FOLDS

    def left_out(self, model: AnswerModel, on_fit: Callable[[str], None]) -> _LeftOut:
        """What a model does with the first `model.n_folds` folds."""
        n_models, n_items = self._answers.shape
        shape = (5, n_models, n_draws(n_models))
        rows = {size: np.full(shape, np.nan) for size in self._sizes}
        log_likelihood = np.full(n_models, np.nan)
        for fold in range(model.n_folds):
            on_fit(model.name)
            traits = model.fit(self._answers[self._folds != fold])
            estimator, members = Adaptive(traits, barred=self._barred), self._folds == fold
            held_out = self._answers[members] > 0.5
            everything = np.ones(held_out.shape, dtype=bool)
            log_likelihood[members] = traits.log_likelihood(everything, held_out) / n_items
            rng = self._rng(fold)
            for draw in range(shape[2]):
                for size, found in try_out(estimator, held_out, self._sizes, rng).items():
                    rows[size][:, members, draw] = found
        return _LeftOut(rows, log_likelihood)

    def ridge_errors(self, n_folds: int) -> dict[int, float]:
        """Mean absolute errors of `Ridge` on the same random items as the mean's."""
        errors: dict[int, list[FloatArray]] = {size: [] for size in self._sizes}
        for fold in range(n_folds):
            ridge = Ridge.fit(self._answers[self._folds != fold])
            held_out, rng = self._answers[self._folds == fold] > 0.5, self._rng(fold)
            for _ in range(n_draws(len(self._answers))):
                order = rng.permutation(held_out.shape[1])
                for size in self._sizes:
                    seen = _first(order, size, held_out.shape)
                    mean = ridge.estimates(seen, held_out).mean
                    errors[size].append(np.abs(mean - held_out.mean(axis=1)))
        return {size: float(np.concatenate(own).mean()) for size, own in errors.items()}

    def _rng(self, fold: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, fold])


def _first(order: NDArray[np.intp], n: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    seen = np.zeros(shape, dtype=bool)
    seen[:, order[:n]] = True
    return seen


def _excess(
    found: Mapping[str, _LeftOut], common: NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """By how much each model's loss exceeds the best's on models that all left out, and its se."""
    losses = {name: result.loss[common] for name, result in found.items()}
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    differences = {name: loss - best for name, loss in losses.items()}
    return {
        name: (float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own))))
        for name, own in differences.items()
    }


def _mean_errors(
    rows: Mapping[int, FloatArray], kind: int, common: NDArray[np.bool_]
) -> dict[int, float]:
    return {size: float(np.abs(own[kind][common]).mean()) for size, own in rows.items()}
