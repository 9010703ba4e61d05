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
    """An objective's name, and the task that measures it in the search and in the test."""

    name: str
    search: str
    test: str

    def task(self, phase: Phase) -> str:
        """The task that measures the objective in a phase, where that has items of it."""
        return self.test if phase == "test" else self.search


@dataclass(frozen=True)
class Objectives:
    """What is maximised, and how the item results of a model become an estimate of it.

    `estimators` has an entry for each search task with a fitted item bank; every other estimate,
    and every one after the search, is the mean over the items with its standard error.
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
        estimators = self.estimators if scores.phase == "search" else {}
        return {
            name: estimators.get(task, TaskScores.estimate)(scores.tasks[task])
            for name, task in tasks.items()
            if task in scores.tasks
        }

    def outcome(self, candidate: Candidate, result: Result) -> Outcome:
        """What a controller is told about a candidate."""
        if isinstance(result, Failure):
            return FailedCandidate(candidate, result)
        return Evaluation(candidate, self.estimates(result))
