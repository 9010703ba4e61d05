"""A spectator that breaks hurts neither the search nor the other spectators."""

import logging

import pytest

from evomerge.records import Progress
from evomerge.tracking.tracker import SafeTracker, Status

STATE = Progress(1, 0, 2, {}, 0.0, 0)


class Recorder:
    """Remembers what it was told, and raises where it is asked to."""

    def __init__(self, broken: bool = False) -> None:
        self.heard: list[str] = []
        self._broken = broken

    def show(self, progress: Progress) -> None:
        self._hear("show")

    def note(self, message: str) -> None:
        self._hear("note")

    def close(self, status: Status) -> None:
        self._hear(status)

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        if self._broken:
            raise OSError("the disk is full")


def test_a_broken_tracker_is_reported_once_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = Recorder(broken=True), Recorder()
    tracker = SafeTracker([broken, whole])
    with caplog.at_level(logging.WARNING):
        tracker.show(STATE)
        tracker.note("hello")
        tracker.close("killed")
    assert broken.heard == ["show", "killed"]
    assert whole.heard == ["show", "note", "killed"]
    assert [record.getMessage() for record in caplog.records] == [
        "Recorder stopped after OSError: the disk is full; the search goes on without it"
    ]


def test_an_interrupt_passes_through() -> None:
    class Interrupted(Recorder):
        def show(self, progress: Progress) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SafeTracker([Interrupted()]).show(STATE)
