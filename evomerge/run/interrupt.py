"""Ctrl-C and SIGTERM as one exception that unwinds the run in an orderly way."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user or the system asked the run to stop; not an `Exception`, so that no worker's
    guard mistakes it for a failed candidate."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


@contextmanager
def seen_through() -> Iterator[None]:
    """Raise the `Interrupted` behind an error of the block: Ray makes a `SystemError` of it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, Interrupted):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise Interrupted(cause.signum) from error
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM in the block into `Interrupted`; a second one exits at once.

    The journal is safe at any moment, so leaving at once loses nothing but what is in flight. An
    error after the signal is its consequence in some library, and counts as `Interrupted` too.
    """
    received: list[int] = []

    def handle(signum: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(128 + signum)
        received.append(signum)
        raise Interrupted(signum)

    previous = {signum: signal.signal(signum, handle) for signum in SIGNALS}
    try:
        yield
    except Exception as error:
        if received:
            raise Interrupted(received[0]) from error
        raise
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
