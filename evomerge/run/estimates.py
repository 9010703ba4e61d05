"""From raw item results to objectives: the one place where a score becomes an estimate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evomerge.records import (
    Candidate,
    Estimate,
    Evaluation,
    FailedCandidate,
    Failure,
    ItemScores,
    Outcome,
    Phase,
    Result,
    TaskScores,
)

Estimator = Callable[[TaskScores], Estimate]


@dataclass(frozen=True)
class ObjectiveTasks:
    """An objective's name, and the task that measures it in each phase (no test task: None)."""

    name: str
    search: str
    test: str | None

    def task(self, phase: Phase) -> str | None:
        """The task that measures the objective in a phase."""
        return self.search if phase == "search" else self.test


@dataclass(frozen=True)
class Objectives:
    """What is maximised, and how the item results of a model become an estimate of it.

    `estimators` has an entry for each search task with a fitted item bank; every other estimate,
    and every one on test items, is the mean over the items with its standard error.
    """

    tasks: Sequence[ObjectiveTasks]
    estimators: Mapping[str, Estimator] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives' names in order."""
        return tuple(objective.name for objective in self.tasks)

    def estimates(self, scores: ItemScores) -> dict[str, Estimate]:
        """Every objective that the scores' phase measures, by name."""
        tasks = {objective.name: objective.task(scores.phase) for objective in self.tasks}
        return {
            name: self._estimate(task, scores.tasks[task])
            for name, task in tasks.items()
            if task is not None
        }

    def outcome(self, candidate: Candidate, result: Result) -> Outcome:
        """What a controller is told about a candidate."""
        if isinstance(result, Failure):
            return FailedCandidate(candidate, result)
        return Evaluation(candidate, self.estimates(result))

    def _estimate(self, task: str, scores: TaskScores) -> Estimate:
        estimator = self.estimators.get(task)
        return scores.estimate() if estimator is None else estimator(scores)
