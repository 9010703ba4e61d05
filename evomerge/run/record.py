"""The journal and what it adds up to, kept in step: every fact is durable before it is acted on."""

from evomerge.journal.events import Event, Failed, Scored
from evomerge.journal.journal import Journal
from evomerge.journal.state import RunState, fold
from evomerge.records import Failure, Result


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
        self.append(Failed(result) if isinstance(result, Failure) else Scored(result))
