"""The journal and what it adds up to, kept in step: every fact is durable before it is acted on."""

import math
from collections.abc import Sequence
from dataclasses import replace

from evomerge.journal.events import Event, Failed, Scored
from evomerge.journal.journal import Journal
from evomerge.journal.state import RunState, fold
from evomerge.records import Failure, ItemScores, Result, TaskScores


class Record:
    """The one writer of a run: appends to the journal, then to the state."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.state: RunState = fold(journal.replay())

    def append(self, *events: Event) -> None:
        """Make the events durable, then visible in `state`.

        Raises:
            JournalError: the journal cannot take them; the state is as it was.
        """
        for event in self._journal.append(*events):
            self.state.add(event)

    def append_result(self, result: Result) -> None:
        """Record what became of a job; a second result of the same job counts as a duplicate."""
        self.append(Failed(result) if isinstance(result, Failure) else Scored(_lean(result)))


def _lean(scores: ItemScores) -> ItemScores:
    """The same scores in a third of the memory: every 0.0 and 1.0 of them is one of two objects.

    A worker sends a new float for each item, and the state of a long run holds millions.
    """
    tasks = {
        name: TaskScores(task.items, _share(task.values), _share(task.weights))
        for name, task in scores.tasks.items()
    }
    return replace(scores, tasks=tasks)


def _share(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(
        1.0 if value == 1.0 else 0.0 if value == 0.0 and math.copysign(1.0, value) > 0 else value
        for value in values
    )
