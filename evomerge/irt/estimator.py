"""One interface for every way to estimate the mean over all items from the answers to some.

An estimator works on many models at once: `seen` and `right`, both `(n_models, J)` bool, say which
of a task's J items each model was asked and which of these it answered rightly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.errors import ScoringError
from evomerge.records import Estimate, TaskScores

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Estimates:
    """`mean` and `se`: `(n_models,)` scores on all items and their standard errors.

    `se` is NaN where the estimator has none.
    """

    mean: FloatArray
    se: FloatArray

    @classmethod
    def clipped(cls, mean: FloatArray, se: FloatArray) -> "Estimates":
        """Estimates of shares, which lie in [0, 1]."""
        return cls(np.clip(mean, 0.0, 1.0), se)


class Estimator(Protocol):
    """Estimates the mean over all items of a task from the items that were seen."""

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The score of each model on all items.

        Raises:
            ScoringError: a model has seen fewer items than the estimator needs.
        """


@dataclass(frozen=True)
class OnTask:
    """An estimator bound to the items of a task, so that it takes document ids.

    Args:
        task: the task's name, for messages.
        items: `(J,)` document ids, the estimator's columns.
    """

    task: str
    items: tuple[int, ...]
    estimator: Estimator

    def __call__(self, scores: TaskScores) -> Estimate:
        """`estimate` of a worker's item results."""
        return self.estimate(scores.items, scores.values)

    def estimate(self, items: Sequence[int], values: Sequence[float]) -> Estimate:
        """The mean over all items of the task.

        Args:
            items: `(n,)` document ids, in any order.
            values: `(n,)` 1 for right, 0 for wrong.

        Raises:
            ScoringError: an item is unknown or comes twice, a value is not 0 or 1, or there are
                fewer items than the estimator needs.
        """
        seen, right = self.answers(items, values)
        estimates = self.estimator.estimates(seen[None], right[None])
        return Estimate(float(estimates.mean[0]), float(estimates.se[0]), len(items))

    def answers(self, items: Sequence[int], values: Sequence[float]) -> tuple[BoolArray, BoolArray]:
        """Which items were seen and which were right, each `(J,)`; raises as `estimate`."""
        places = {item: place for place, item in enumerate(self.items)}
        if unknown := sorted(set(items) - places.keys()):
            raise ScoringError(
                f"task {self.task} was scored on items {unknown}, which its estimator of "
                f"{len(places)} items does not know; score items that it was fitted to"
            )
        if len(set(items)) < len(items):
            raise ScoringError(
                f"task {self.task} was scored on {len(items)} items, of which only "
                f"{len(set(items))} differ; give every item once"
            )
        if len(values) != len(items) or not set(values) <= {0.0, 1.0}:
            raise ScoringError(
                f"task {self.task} has values {sorted(set(values))} for {len(items)} items, "
                "expected 0 or 1 for each; only the mean can be taken of other metrics"
            )
        seen, right = np.zeros(len(places), dtype=bool), np.zeros(len(places), dtype=bool)
        where = [places[item] for item in items]
        seen[where] = True
        right[where] = np.array(values) == 1.0
        return seen, right


def require_seen(seen: BoolArray, n_needed: int, who: str) -> NDArray[np.intp]:
    """How many items each model has seen, `(n_models,)`.

    Raises:
        ScoringError: one has seen fewer than `n_needed`.
    """
    n_seen = np.asarray(seen.sum(axis=1), dtype=np.intp)
    if len(n_seen) and n_seen.min() < n_needed:
        raise ScoringError(
            f"model {int(n_seen.argmin())} was scored on {int(n_seen.min())} items, expected at "
            f"least {n_needed} for {who}; score more items"
        )
    return n_seen


def checked_responses(responses: ArrayLike) -> FloatArray:
    """Calibration responses `(n_models, J)` of zeros and ones, as floats.

    Raises:
        ScoringError: they are not a matrix, or an entry is missing or not 0 or 1.
    """
    answers = np.asarray(responses, dtype=np.float64)
    if answers.ndim != 2 or not answers.size:
        raise ScoringError(
            f"responses have shape {answers.shape}, expected (n_models, n_items), both at least 1"
        )
    foreign = np.argwhere(~np.isin(answers, (0.0, 1.0)))  # NaN too
    if len(foreign):
        model, item = foreign[0]
        raise ScoringError(
            f"model {model} has {answers[model, item]:g} in column {item} of the responses, "
            "expected 0 or 1; leave out the models or items with other results"
        )
    return answers


def share_se(n_right: FloatArray, n_seen: FloatArray, n_items: int) -> FloatArray:
    """Standard error of the share of right answers among `n_seen` random items of `n_items`.

    √(p̃ (1 − p̃) / n · (1 − n / J)) with p̃ = (k + 1) / (n + 2), the Agresti-Coull point
    (https://doi.org/10.1080/00031305.1998.10480550) near enough: all right and all wrong answers
    leave a doubt, which the sample variance would deny.
    """
    share = (n_right + 1.0) / (n_seen + 2.0)
    finite = np.maximum(1.0 - n_seen / n_items, 0.0)
    return np.asarray(np.sqrt(share * (1.0 - share) / np.maximum(n_seen, 1.0) * finite))
