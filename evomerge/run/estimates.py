"""From raw item results to objectives: the one place where a score becomes an estimate."""

from collections.abc import Sequence
from dataclasses import dataclass

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
)


@dataclass(frozen=True)
class ObjectiveTasks:
    """An objective's name, and the task that measures it in each phase (no test task: None)."""

    name: str
    search: str
    test: str | None

    def task(self, phase: Phase) -> str | None:
        """The task that measures the objective in a phase."""
        return self.search if phase == "search" else self.test


def estimates(scores: ItemScores, objectives: Sequence[ObjectiveTasks]) -> dict[str, Estimate]:
    """Every objective that the scores' phase measures, by name: the mean over its items."""
    tasks = {objective.name: objective.task(scores.phase) for objective in objectives}
    return {name: scores.tasks[task].estimate() for name, task in tasks.items() if task is not None}


def outcome_of(
    candidate: Candidate, result: Result, objectives: Sequence[ObjectiveTasks]
) -> Outcome:
    """What a controller is told about a candidate."""
    if isinstance(result, Failure):
        return FailedCandidate(candidate, result)
    return Evaluation(candidate, estimates(result, objectives))
