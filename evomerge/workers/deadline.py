"""A time limit on code that runs in this process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class DeadlineExceededError(Exception):
    """The time limit of an evaluation passed."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `DeadlineExceededError` in the block when it takes longer than `seconds`.

    Uses the interval timer of the process, so that it works only in the main thread; elsewhere,
    and for None, there is no limit. A single call into native code is not interrupted: the error
    rises when that call returns.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise DeadlineExceededError(f"took longer than {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
