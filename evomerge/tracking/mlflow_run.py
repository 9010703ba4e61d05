"""The run in MLflow, from a background thread: the search never waits for it.

The thread starts with the first message. By then the search has imported its own heavy libraries:
two threads in the middle of large imports can see each other's modules half made.
"""

import logging
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from evomerge.records import Comparison, Progress
from evomerge.tracking.target import (
    RunFacts,
    mlflow_environment,
    tracking_uri,
    without_credentials,
)
from evomerge.tracking.tracker import Status

log = logging.getLogger(__name__)

_PATIENCE_S = {"finished": 120.0, "killed": 5.0, "failed": 5.0}


class Sink(Protocol):
    """What the thread writes to; `projection.Projection` outside of tests."""

    def show(self, states: list[Progress]) -> None:
        """Take several states."""

    def conclude(self, comparison: Comparison) -> None:
        """Take the final comparison."""

    def close(self, status: Status) -> None:
        """Take the end."""


class MlflowTracker:
    """Queues what happens and sends it to MLflow in the background.

    What could not be sent is kept and sent with the next message, so that a server may go away and
    come back. At the end the queue has two minutes after a search that finished and five seconds
    after one that did not; what is left then is left out. The next `resume` of a run that has not
    finished sends it; a finished one stays incomplete there, and whole in its journal.
    """

    def __init__(self, facts: RunFacts, open_sink: Callable[[], Sink] | None = None) -> None:
        """Prepare to track a run.

        Args:
            facts: the run.
            open_sink: opens the store; called in the thread, again after it raised.
        """
        self._uri = tracking_uri(facts.run_dir)
        self._open_sink = open_sink or (lambda: _open_projection(facts, self._uri))
        self._inbox: SimpleQueue[Progress | Comparison | Status] = SimpleQueue()
        self._thread: Thread | None = None
        self._warned = False

    def show(self, progress: Progress) -> None:
        self._send(progress)

    def note(self, message: str) -> None:
        """Nothing: a note is for the moment."""

    def conclude(self, comparison: Comparison) -> None:
        self._send(comparison)

    def close(self, status: Status) -> None:
        if self._thread is None:
            return
        self._send(status)
        self._thread.join(_PATIENCE_S[status])
        if self._thread.is_alive():
            self._warn("it did not answer in time, so that its record of the run is incomplete")

    def _send(self, message: Progress | Comparison | Status) -> None:
        self._inbox.put(message)
        if self._thread is None:
            self._thread = Thread(target=self._work, name="evomerge-mlflow", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        backlog = _Backlog()
        sink: Sink | None = None
        while backlog.end is None:
            backlog.take_all(self._inbox)
            try:
                sink = sink or self._open_sink()
                backlog.deliver(sink)
            except Exception as error:  # a server may fail in every way there is
                self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            shown = without_credentials(self._uri)
            log.warning(
                "MLflow at %s lags behind (%s); the search goes on, its journal is complete",
                shown,
                reason.replace(self._uri, shown)[:300],
            )


class _Backlog:
    """What has not reached MLflow yet."""

    def __init__(self) -> None:
        self.states: list[Progress] = []
        self.comparison: Comparison | None = None
        self.end: Status | None = None

    def take_all(self, inbox: "SimpleQueue[Progress | Comparison | Status]") -> None:
        """Wait for a message, then take all that are there."""
        self._take(inbox.get())
        try:
            while True:
                self._take(inbox.get_nowait())
        except Empty:
            return

    def deliver(self, sink: Sink) -> None:
        """Send everything; what was sent is forgotten, what raised is kept."""
        if self.states:
            sink.show(self.states)
            self.states = []
        if self.comparison is not None:
            sink.conclude(self.comparison)
            self.comparison = None
        if self.end is not None:
            sink.close(self.end)

    def _take(self, message: Progress | Comparison | Status) -> None:
        if isinstance(message, Progress):
            self.states.append(message)
        elif isinstance(message, Comparison):
            self.comparison = message
        else:
            self.end = message


def _open_projection(facts: RunFacts, uri: str) -> Sink:
    os.environ.update(mlflow_environment())
    from evomerge.tracking.projection import Projection

    return Projection(facts, uri)
