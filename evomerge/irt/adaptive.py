"""Our estimator: common random items first, then those that tell most about the score.

A candidate answers `n_common` items that every candidate of its generation answers, then batches
of the items whose answers would lower the variance of its score most (`local.gains`). The score is
the model's, its standard error the model's times a factor from cross-validation: chosen items and a
bank from few models make the model surer than it should be. Where cross-validation finds the model
no better than an estimator that trusts random items alone, all items are random and that is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.errors import ScoringError
from evomerge.irt.design import Difference, Mean
from evomerge.irt.estimator import (
    BoolArray,
    Estimates,
    FloatArray,
    checked_responses,
    require_seen,
)
from evomerge.irt.fitting import N_TRAITS, fit_traits
from evomerge.irt.local import around, gains
from evomerge.irt.traits import Traits, best_items

N_COMMON = 10
BATCH = 5
RANDOM_SHARE = 0.2
"""Of every batch: what the model does not know it lacks, only random items tell."""

SIZES = (20, 50, 100)
N_FOLDS = 5
N_TRIED = 300
"""Held-out models in the cross-validation, each counted as often as the common items are drawn."""

MAX_DRAWS = 4

Way = Literal["mean", "difference", "model"]

NORMAL_95 = 1.959964
ALARM = 3.0


@dataclass(frozen=True)
class Validation:
    """How the estimator did on calibration models left out of the fit, at `n` items.

    `error`, `mean_error` and `difference_error`: its mean absolute error, that of the mean of as
    many common random items, and that of the difference estimator (`design.Difference`) on them.
    `inflation` and `difference_inflation`: what the standard errors of the model and of the
    difference estimator must be multiplied by for 95 % of the intervals of 95 % to hold the truth.
    """

    n: int
    error: float
    mean_error: float
    difference_error: float
    inflation: float
    difference_inflation: float


@dataclass(frozen=True, eq=False)
class Adaptive:
    """A fitted estimator that also says which items to ask.

    Attributes:
        traits: the model of the answers.
        validation: by number of items, ascending; empty for no inflation and no fallback.
        barred: places of items that are chosen by the model only where no others are left.
    """

    traits: Traits
    validation: Sequence[Validation] = ()
    barred: Sequence[int] = field(default=())
    n_common: int = N_COMMON

    @cached_property
    def way(self) -> Way:
        """What had the least error in cross-validation; the model where there was none."""
        return min(self._errors, key=self._errors.__getitem__) if self.validation else "model"

    @cached_property
    def _errors(self) -> dict[Way, float]:
        """Mean absolute errors in cross-validation over all sizes, the simplest way first."""
        rows = [(r.mean_error, r.difference_error, r.error) for r in self.validation]
        mean, difference, model = np.mean(rows, axis=0).tolist()
        return {"mean": mean, "difference": difference, "model": model}

    @property
    def trusts_model(self) -> bool:
        """Whether items are chosen by the model, and the score is the model's."""
        return self.way == "model"

    @property
    def doubt(self) -> str:
        """In words, why the model is not trusted; empty where it is."""
        if self.trusts_model:
            return ""
        return (
            f"models left out of its fit were estimated with an error of "
            f"{self._errors['model']:.4f} by its item bank, and of {self._errors[self.way]:.4f} by "
            f"the {self.way} of random items; so that is taken, and all items are random"
        )

    def restricted(self, places: NDArray[np.intp]) -> "Adaptive":
        """The estimator of the mean over some of the items alone, in this order."""
        new = {int(place): index for index, place in enumerate(places)}
        barred = tuple(sorted(new[place] for place in self.barred if place in new))
        return replace(self, traits=self.traits.restricted(places), barred=barred)

    def inflation(self, n_seen: NDArray[np.intp]) -> FloatArray:
        """The factor for each number of items, interpolated in log n, `(n_models,)`."""
        if not self.validation or self.way == "mean":
            return np.ones(len(n_seen))
        sizes = np.log([row.n for row in self.validation])
        by_model = self.way == "model"
        factors = [r.inflation if by_model else r.difference_inflation for r in self.validation]
        return np.asarray(np.interp(np.log(np.maximum(n_seen, 1)), sizes, factors))

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The score of each model; of random items alone where the model is not to be trusted."""
        n_seen = require_seen(seen, 1, "an ability")
        found = self._by_way(seen, right)
        return Estimates.clipped(found.mean, found.se * self.inflation(n_seen))

    def _by_way(self, seen: BoolArray, right: BoolArray) -> Estimates:
        if self.way == "model":
            return self.traits.estimates(seen, right)
        if self.way == "mean":
            return Mean().estimates(seen, right)
        return Difference(self.traits.predictions(seen, right)).estimates(seen, right)

    def choose(
        self, seen: BoolArray, right: BoolArray, n: int, order: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """The next `n` items of each model, `(n_models, n)` places.

        Args:
            order: `(J,)` a random order of all items, the same for the candidates to be compared;
                the first of it are the common items.

        Raises:
            ScoringError: a model has fewer than `n` items left.
        """
        left = (~seen).sum(axis=1)
        if len(left) and left.min() < n:
            raise ScoringError(
                f"model {int(left.argmin())} has {int(left.min())} items left to be chosen from, "
                f"expected at least {n}; score all items instead"
            )
        n_random = round(RANDOM_SHARE * n) if self.trusts_model and seen.any() else n
        random = np.array([order[~mask[order]][:n_random] for mask in seen], dtype=np.intp)
        taken = seen.copy()
        np.put_along_axis(taken, random, True, axis=1)
        best = best_items(gains(self.traits, seen, right), taken, n - n_random, barred=self.barred)
        return np.concatenate([random, best], axis=1)

    def misfit(self, seen: BoolArray, right: BoolArray, common: NDArray[np.intp]) -> FloatArray:
        """How far the model's score is from the design-based one, in standard errors.

        The difference estimator on the random `common` items alone, with the model's predictions,
        takes no part of the model for granted. Beyond `ALARM` the model does not fit: score more
        random items. `(n_models,)`.
        """
        random = np.zeros_like(seen)
        random[:, common] = seen[:, common]
        predictions = np.asarray(around(self.traits, seen, right).share, dtype=np.float64)
        design = Difference(predictions).estimates(random, right)
        model = self.estimates(seen, right)
        return np.asarray((model.mean - design.mean) / np.hypot(model.se, design.se))


def fit_adaptive(
    responses: ArrayLike,
    *,
    sizes: Sequence[int] = SIZES,
    n_traits: int = N_TRAITS,
    barred: Sequence[int] = (),
    seed: int = 0,
) -> Adaptive:
    """Fit the estimator to models that answered all items, and cross-validate it.

    Args:
        responses: `(n_models, J)` 1 for right, 0 for wrong.
        sizes: numbers of items to cross-validate at; those of J and more are left out.
        barred: places not to be chosen adaptively (`flag_items`).

    Raises:
        ScoringError: an entry is missing or not 0 or 1, or there are fewer models than folds.
    """
    answers = answers_of_enough(responses)
    rng = np.random.default_rng(seed)
    folds = rng.permutation(len(answers)) % N_FOLDS
    within = tuple(sorted(size for size in sizes if N_COMMON <= size < answers.shape[1]))
    errors: dict[int, list[FloatArray]] = {size: [] for size in within}
    for fold in range(N_FOLDS):
        estimator = Adaptive(fit_traits(answers[folds != fold], n_traits), barred=barred)
        held_out = answers[folds == fold] > 0.5
        for _ in range(n_draws(len(answers))):
            for size, rows in try_out(estimator, held_out, within, rng).items():
                errors[size].append(rows)
    validation = tuple(validation_of(size, np.concatenate(errors[size], axis=1)) for size in within)
    return Adaptive(fit_traits(answers, n_traits), validation, tuple(barred))


def answers_of_enough(responses: ArrayLike) -> FloatArray:
    """The responses `(n_models, J)`, checked, of models enough to cross-validate with.

    Raises:
        ScoringError: an entry is missing or not 0 or 1, or there are fewer models than folds.
    """
    answers = checked_responses(responses)
    if len(answers) < N_FOLDS:
        raise ScoringError(
            f"{len(answers)} models answered, expected at least {N_FOLDS} to cross-validate an "
            "estimator; calibrate on more models"
        )
    return answers


def n_draws(n_models: int) -> int:
    """How often the common items are drawn in a cross-validation over so many models."""
    return min(-(-N_TRIED // n_models), MAX_DRAWS)


def try_out(
    estimator: Adaptive, answers: BoolArray, sizes: Sequence[int], rng: np.random.Generator
) -> dict[int, FloatArray]:
    """Errors and standard errors of the model, the mean's errors, and both of the difference.

    `(5, n_models)` for each size.
    """
    truth, order = answers.mean(axis=1), rng.permutation(answers.shape[1])
    rows = {}
    for n, seen in ask(estimator, answers, sizes, order).items():
        estimates = estimator.estimates(seen, answers)
        random = np.zeros_like(answers)
        random[:, order[:n]] = True
        plain = Mean().estimates(random, answers)
        predictions = estimator.traits.predictions(random, answers)
        difference = Difference(predictions).estimates(random, answers)
        rows[n] = np.array(
            [
                estimates.mean - truth,
                estimates.se,
                plain.mean - truth,
                difference.mean - truth,
                difference.se,
            ]
        )
    return rows


def ask(
    estimator: Adaptive, answers: BoolArray, sizes: Sequence[int], order: NDArray[np.intp]
) -> dict[int, BoolArray]:
    """What models whose answers are known would be asked by the time they have seen each size.

    Args:
        answers: `(n_models, J)`; only those asked for are looked at.
        order: `(J,)` a random order of all items.

    Returns:
        size → `(n_models, J)` which items were seen.
    """
    seen = np.zeros(answers.shape, dtype=bool)
    seen[:, order[: estimator.n_common]] = True
    asked, n = {}, min(estimator.n_common, len(order))
    for size in sizes:
        while n < size:
            batch = min(BATCH if n < 50 else 2 * BATCH, size - n)
            chosen = estimator.choose(seen, answers & seen, batch, order)
            np.put_along_axis(seen, chosen, True, axis=1)
            n += batch
        asked[size] = seen.copy()
    return asked


def flag_items(responses: ArrayLike) -> dict[str, tuple[int, ...]]:
    """Items not to be chosen adaptively: `no_variance`, and `negative` discrimination.

    Negative is a correlation below zero between an item and the number of right answers to the
    others: the able do worse on it.
    """
    answers = checked_responses(responses)
    varies = answers.min(axis=0) < answers.max(axis=0)
    rest = answers.sum(axis=1, keepdims=True) - answers
    covariance = ((answers - answers.mean(axis=0)) * (rest - rest.mean(axis=0))).sum(axis=0)
    return {
        "no_variance": tuple(np.flatnonzero(~varies).tolist()),
        "negative": tuple(np.flatnonzero(varies & (covariance < 0.0)).tolist()),
    }


def validation_of(n: int, rows: FloatArray) -> Validation:
    """What rows `(5, n_models)` of `try_out` add up to."""
    errors, ses, plain, differences, difference_ses = rows
    return Validation(
        n,
        float(np.abs(errors).mean()),
        float(np.abs(plain).mean()),
        float(np.abs(differences).mean()),
        _inflation(errors, ses),
        _inflation(differences, difference_ses),
    )


def _inflation(errors: FloatArray, ses: FloatArray) -> float:
    surprise = np.abs(errors) / np.maximum(ses, 1e-9)
    return float(np.clip(np.quantile(surprise, 0.95) / NORMAL_95, 0.7, 5.0))
