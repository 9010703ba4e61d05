"""Ends the processes of a local Ray once the process that started it is gone, however it went.

Most of Ray's processes end with the driver, but its agents stay for a minute after a SIGKILL, and
hold memory and ports that the resumed run wants. The guardian is a small process that waits for the
other end of its standard input to close, then kills whatever carries the cluster's mark in its
environment. This file runs as a script: it imports nothing of evomerge.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MARK = "EVOMERGE_LOCAL_RAY"
"""The environment variable whose value tells the processes of one cluster from all others."""


class Guardian:
    """Watches over what is started inside `marking`, until `dismiss` or the end of this process."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, str(Path(__file__)), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither Ctrl-C nor the end of a process group is meant for it
        )

    @contextmanager
    def marking(self) -> Iterator[None]:
        """Mark the processes that are started in the block, and theirs."""
        os.environ[MARK] = self._mark
        try:
            yield
        finally:
            del os.environ[MARK]

    def dismiss(self) -> None:
        """Have everything that is left of the cluster killed now."""
        self._process.communicate()


def end_all(mark: str) -> None:
    """Kill the processes that carry the mark, and those that they start meanwhile."""
    for _ in range(50):
        left = list(_marked(mark))
        if not left:
            return
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_all(sys.argv[1])
