"""Which items a candidate is asked, how many, and what its answers say of all.

A candidate answers the common items of its generation first, then batches that are chosen for it
(`joint.joint_batch`), until it has answered as many as its job says. Where its answers do not fit
the model, it is asked as many fresh random items beside, which then correct the model. Results are
kept in the order of asking, so that they tell which items were what.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import CalibrationError
from evomerge.irt.adaptive import ALARM, RANDOM_SHARE, Adaptive
from evomerge.irt.estimator import Estimates, OnTask
from evomerge.irt.joint import joint_batch
from evomerge.irt.person_fit import person_fit
from evomerge.irt.rescore import rescored
from evomerge.irt.trait_bank import TraitBank
from evomerge.records import Estimate, TaskScores

N_ROUNDS = 4
"""Batches in which the chosen items are asked: chosen jointly, four do as well as many small ones,
which would waste the forward pass (eight cost a third more on the zoo, four hardly anything)."""

FEWEST_FRESH = 2
"""Random items that can correct a model."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What is asked about a benchmark, and what the answers say of all its items.

    Attributes:
        task: the benchmark's name, for messages.
        items: `(J,)` document ids, the estimator's columns.
        estimator: fitted to them.
        n: items that a candidate is asked, unless there is an alarm.
        n_common: how many of them come first, random and common to a generation.
    """

    task: str
    items: tuple[int, ...]
    estimator: Adaptive
    n: int
    n_common: int

    def __call__(self, scores: TaskScores) -> Estimate:
        """The mean over all items, from answers in the order of asking.

        Answers that are not right or wrong after all have no model: the mean is taken of those that
        are random.

        Raises:
            ScoringError: an item is unknown or comes twice.
        """
        if _is_graded(scores):
            return self.common(scores).estimate()
        needs_correction = self.has_alarmed(scores) and not self._has_all(scores)
        return self._corrected(scores) if needs_correction else self.on_task(scores)

    def common(self, scores: TaskScores) -> TaskScores:
        """The results of the items that were not chosen for the candidate."""
        return scores if self._has_all(scores) else scores.first(self.n_common)

    def has_alarmed(self, scores: TaskScores) -> bool:
        """Whether the answers of a candidate that was asked were found not to fit."""
        return len(scores.items) > self.n

    def wants_alarm(self, scores: TaskScores) -> bool:
        """Whether the answers are not such as the model expects, by more than chance allows.

        Either its score disagrees with that of the common items, or the answers taken together are
        far less likely than those of any ability should be.
        """
        if not self.estimator.trusts_model or self.n_common < FEWEST_FRESH:
            return False
        seen, right = (own[None] for own in self.on_task.answers(scores.items, scores.values))
        common = places_of(self.items, scores.items[: self.n_common])
        disagreement = abs(self.estimator.misfit(seen, right, common)[0])
        return bool(max(disagreement, -person_fit(self.estimator.traits, seen, right)[0]) > ALARM)

    @cached_property
    def digest(self) -> str:
        """Of all that the survey holds, in hexadecimal."""
        digest = hashlib.sha256(repr((self.task, self.items, self.n, self.n_common)).encode())
        estimator = self.estimator
        digest.update(repr((estimator.barred, estimator.validation)).encode())
        for field in fields(estimator.traits):
            array = getattr(estimator.traits, field.name)
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Callable[..., "Survey"], tuple[object, ...]]:
        """How it travels with every job: where it was before, what was computed of it is there."""
        parts = (self.task, self.items, self.estimator, self.n, self.n_common)
        return _arrived, (self.digest, *parts)

    @property
    def on_task(self) -> OnTask:
        """The estimator for document ids."""
        return OnTask(self.task, self.items, self.estimator)

    def _has_all(self, scores: TaskScores) -> bool:
        return len(scores.items) == len(self.items)

    def _corrected(self, scores: TaskScores) -> Estimate:
        """What the first `n` answers make the model expect, corrected by the fresh items."""
        seen, right = self.on_task.answers(scores.items, scores.values)
        fresh = np.zeros_like(seen)
        fresh[places_of(self.items, scores.items[self.n :])] = True
        found = rescored(self.estimator.traits, (seen & ~fresh)[None], fresh[None], right[None])
        found = Estimates.clipped(found.mean, found.se)
        return Estimate(float(found.mean[0]), float(found.se[0]), len(scores.items))


_ARRIVED: dict[str, Survey] = {}
MOST_ARRIVED = 16
"""Surveys that a process keeps: those of one run's benchmarks, and some of one before."""


def _arrived(
    digest: str, task: str, items: tuple[int, ...], estimator: Adaptive, n: int, n_common: int
) -> Survey:
    if digest not in _ARRIVED:
        if len(_ARRIVED) == MOST_ARRIVED:
            _ARRIVED.clear()
        _ARRIVED[digest] = Survey(task, items, estimator, n, n_common)
    return _ARRIVED[digest]


@dataclass(frozen=True, eq=False)
class Asking:
    """How a job goes on with a benchmark: an `Asker`, the same whatever worker has it.

    Attributes:
        measure: key of the results that the survey is about.
        order: `(J,)` document ids in a random order, the same for the candidates to be compared.
    """

    survey: Survey
    measure: str
    order: tuple[int, ...]

    def next_items(self, found: Mapping[str, TaskScores]) -> tuple[int, ...]:
        """The next batch; after an alarm as many fresh random items as were asked, once."""
        scores, survey = found[self.measure], self.survey
        if _is_graded(scores) or len(scores.items) > survey.n:
            return ()
        if len(scores.items) < survey.n:
            return self._batch(scores)
        unseen = self._unseen(scores)
        if len(unseen) < FEWEST_FRESH or not survey.wants_alarm(scores):
            return ()
        return unseen[: survey.n]

    def _batch(self, scores: TaskScores) -> tuple[int, ...]:
        """The items that the answers make worth asking."""
        survey = self.survey
        n_left = survey.n - len(scores.items)
        if not survey.estimator.trusts_model:
            return self._unseen(scores)[:n_left]
        n = min(n_left, math.ceil((survey.n - survey.n_common) / N_ROUNDS))
        random = self._unseen(scores)[: round(RANDOM_SHARE * n)]
        seen, right = survey.on_task.answers(scores.items, scores.values)
        chosen = joint_batch(
            survey.estimator.traits,
            seen,
            right,
            n - len(random),
            first=places_of(survey.items, random).tolist(),
            barred=survey.estimator.barred,
        )
        return (*random, *(survey.items[place] for place in chosen))

    def _unseen(self, scores: TaskScores) -> tuple[int, ...]:
        seen = set(scores.items)
        return tuple(item for item in self.order if item not in seen)


@dataclass(frozen=True)
class RandomAsking:
    """Goes on with random items alone: the `Asker` of a benchmark without a survey.

    Attributes:
        n: items that a candidate is asked, those of the job included.
        order: document ids in a random order.
    """

    n: int
    order: tuple[int, ...]

    def next_items(self, found: Mapping[str, TaskScores]) -> tuple[int, ...]:
        """All that are missing, at once."""
        seen = set(next(iter(found.values())).items)
        unseen = tuple(item for item in self.order if item not in seen)
        return unseen[: max(self.n - len(seen), 0)]


def survey_of(bank: TraitBank, items: Sequence[int], n: int, n_common: int) -> Survey:
    """The survey of some of a bank's items, which may be all.

    Raises:
        CalibrationError: the bank does not know an item.
    """
    if unknown := sorted(set(items) - set(bank.items)):
        raise CalibrationError(
            f"the item bank of task {bank.task} does not have items {unknown[:5]} of the "
            f"{len(items)} to be asked, expected all of them; calibrate the task again"
        )
    estimator = bank.estimator.restricted(places_of(bank.items, items))
    n, n_common = min(n, len(items)), min(n_common, len(items))
    return Survey(bank.task, tuple(items), estimator, n, n_common)


def places_of(items: Sequence[int], wanted: Sequence[int]) -> NDArray[np.intp]:
    """Where the wanted documents stand among `items`, `(n,)`."""
    places = {item: place for place, item in enumerate(items)}
    return np.array([places[item] for item in wanted], dtype=np.intp)


def _is_graded(scores: TaskScores) -> bool:
    return not set(scores.values) <= {0.0, 1.0}
