"""What a spectator of a search is told, and the guard between spectators and the search."""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from evomerge.records import Progress

Status = Literal["finished", "killed", "failed"]

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """A spectator. Everything it shows can be rebuilt from the journal."""

    def show(self, progress: Progress) -> None:
        """Show the state of the search after an outcome was told."""

    def note(self, message: str) -> None:
        """Show one line of text, such as a phase that begins."""

    def close(self, status: Status) -> None:
        """Release everything, within seconds when the search was killed."""


class SafeTracker:
    """Several trackers as one that never raises.

    A tracker that raises is reported once through `logging` and hears no more, except that it is
    still asked to close.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)
        self._broken: set[int] = set()

    def show(self, progress: Progress) -> None:
        self._tell(lambda tracker: tracker.show(progress))

    def note(self, message: str) -> None:
        self._tell(lambda tracker: tracker.note(message))

    def close(self, status: Status) -> None:
        self._tell(lambda tracker: tracker.close(status), broken_too=True)

    def _tell(self, message: Callable[[Tracker], None], *, broken_too: bool = False) -> None:
        for index, tracker in enumerate(self._trackers):
            if index in self._broken and not broken_too:
                continue
            try:
                message(tracker)
            except Exception as error:  # whatever a spectator's library raises
                self._report(index, error)

    def _report(self, index: int, error: Exception) -> None:
        if index not in self._broken:
            self._broken.add(index)
            name = type(self._trackers[index]).__name__
            log.warning(
                "%s stopped after %s: %s; the search goes on without it",
                name,
                type(error).__name__,
                error,
            )
