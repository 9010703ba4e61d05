"""The journal of a run: append events durably, read them back in order.

One process writes (`journal.lock` sees to that), any number read beside it. Estimates, fronts,
plots and tracking are views of what stands here; resuming a run is replaying it.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from evomerge.errors import JournalError
from evomerge.journal import codec, database
from evomerge.journal.events import Duplicate, Event, Failed, Scored

Clock = Callable[[], float]
BATCH = 512
"""Events read at once; between batches no read transaction holds back the writer's checkpoints."""


@dataclass(frozen=True)
class Head:
    """How many events there are, and the digest of the last one."""

    n_events: int
    digest: str


class Journal:
    """An append-only list of events in one SQLite file; use as a context manager or `close` it."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, clock: Clock, resources: ExitStack
    ) -> None:
        self.path = path
        self._connection = connection
        self._clock = clock
        self._resources = resources

    @classmethod
    def create(cls, path: Path, *, clock: Clock = time.time) -> "Journal":
        """Make an empty journal at `path` and open it for writing.

        Raises:
            JournalError: a journal is there already, or the directory cannot be written.
        """
        database.create_file(path)
        return cls.open(path, clock=clock)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, clock: Clock = time.time) -> "Journal":
        """Open the journal at `path`, for writing or beside a writer with `read_only`.

        Raises:
            JournalError: there is none, it is damaged, of another schema, or out of reach.
        """
        with ExitStack() as stack:
            if read_only:
                scratch = Path(stack.enter_context(database.scratch_directory()))
                connection = database.open_for_reading(path, scratch)
            else:
                connection = database.open_for_writing(path)
            stack.callback(connection.close)
            return cls(path, connection, clock=clock, resources=stack.pop_all())

    def append(self, *events: Event) -> tuple[Event, ...]:
        """Record the events in one transaction, durable when this returns, all or none.

        Returns:
            The events as recorded, in order and stamped with the time. A result of a candidate and
            phase that already has one comes back as a `Duplicate`: the first commit wins.

        Raises:
            JournalError: the disk refuses, a number is not finite, or an event that happens once
                (a tell, an attempt at an ask, the start, the end) was recorded before.
        """
        with database.explained(self.path), self._transaction():
            head = self._head()
            recorded = []
            for event in events:
                stamped, head = self._insert(replace(event, time_s=self._clock()), head)
                recorded.append(stamped)
            self._connection.execute("UPDATE head SET n_events = ?, digest = ?", _row(head))
        return tuple(recorded)

    def replay(self, after: int = 0) -> Iterator[Event]:
        """Every event in the order of the appends, as of the moment when the iteration starts.

        Args:
            after: how many events to leave out: those that the caller has read before.

        Raises:
            JournalError: an event was changed, is missing or cannot be understood; all events
                before it have been yielded.
        """
        head = self._read_head()
        digest = self._digest_of(after)
        for expected, row in enumerate(self._rows(after, head.n_events), start=after + 1):
            sequence, time_s, kind, key, payload, stored = row
            digest = chained(digest, (sequence, time_s, kind, key, payload))
            if sequence != expected or digest != stored:
                raise JournalError(self._broken(expected))
            yield self._decode(expected, kind, payload, time_s)
        if digest != head.digest:
            raise JournalError(self._broken(head.n_events + 1))

    def __len__(self) -> int:
        """The number of events recorded so far, duplicates included."""
        return self._read_head().n_events

    def close(self) -> None:
        """Close the file; everything appended is already safe."""
        self._resources.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:  # from the start: a signal may raise between two lines
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _insert(self, event: Event, head: Head) -> tuple[Event, Head]:
        sequence, kind, key = head.n_events + 1, codec.kind_of(event), codec.key_of(event)
        row = (sequence, event.time_s, kind, key, self._encode(event))
        digest = chained(head.digest, row)
        cursor = self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (*row, digest),
        )
        if cursor.rowcount == 1:
            return event, Head(sequence, digest)
        if isinstance(event, Scored | Failed):
            return self._insert(Duplicate(event.result, time_s=event.time_s), head)
        raise JournalError(
            f"{self.path} already records {key}, which happens once in a run; "
            "is another process writing? Stop it, then continue with `evomerge resume`"
        )

    def _encode(self, event: Event) -> str:
        try:
            return codec.encode(event)
        except ValueError as error:
            raise JournalError(
                f"cannot record a {codec.kind_of(event)} event in {self.path}: {error}; "
                "numbers must be finite, a candidate without finite scores is recorded as failed"
            ) from error

    def _decode(self, sequence: int, kind: str, payload: str, time_s: float) -> Event:
        try:
            return replace(codec.decode(kind, payload), time_s=time_s)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise JournalError(
                f"event {sequence} of {self.path} ({kind}) cannot be understood: {error!r}; "
                "was it written by another version of evomerge? Use that version to read it"
            ) from error

    def _head(self) -> Head:
        row = self._connection.execute("SELECT n_events, digest FROM head").fetchone()
        if row is None:
            raise JournalError(self._broken(1))
        return Head(*row)

    def _read_head(self) -> Head:
        with database.explained(self.path):
            return self._head()

    def _digest_of(self, sequence: int) -> str:
        """What the event after this one is chained to."""
        with database.explained(self.path):
            row = self._connection.execute(
                "SELECT digest FROM events WHERE sequence = ?", (sequence,)
            ).fetchone()
        return str(row[0]) if row else database.FIRST_DIGEST

    def _rows(
        self, after: int, n_events: int
    ) -> Iterator[tuple[int, float, str, str | None, str, str]]:
        for first in range(after + 1, n_events + 1, BATCH):
            with database.explained(self.path):
                rows = self._connection.execute(
                    "SELECT sequence, time_s, kind, key, payload, digest FROM events "
                    "WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
                    (first, min(first + BATCH - 1, n_events)),
                ).fetchall()
            yield from rows

    def _broken(self, sequence: int) -> str:
        return (
            f"event {sequence} of {self.path} is damaged or missing; the {sequence - 1} "
            "events before it are intact: restore the run directory from a copy, or start a new run"
        )


def _row(head: Head) -> tuple[int, str]:
    return head.n_events, head.digest


def chained(previous: str, row: tuple[int, float, str, str | None, str]) -> str:
    """The digest of an event's stored row (sequence, time, kind, key, payload) after `previous`."""
    text = "\x1f".join((previous, *(repr(value) for value in row)))
    return hashlib.sha256(text.encode()).hexdigest()
