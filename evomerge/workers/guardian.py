"""Ends the processes of a local Ray once the process that started it is gone, however it went.

Most of Ray's processes end with the driver, but its agents stay for a minute after a SIGKILL, and
hold memory and ports that the resumed run wants. The guardian is a small process that waits for the
other end of its standard input to close, then kills what carries the cluster's mark in its
environment, and what it was told by number (Ray's agents overwrite their environment with their
name). This file runs as a script: it imports nothing of evomerge.
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

Identity = tuple[int, float]
"""Number and time of creation of a process: numbers are used again."""


class Guardian:
    """Watches over what is started inside `marking`, until `dismiss` or the end of this process."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, str(Path(__file__)), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
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
            self._tell()

    def dismiss(self) -> None:
        """Have everything that is left of the cluster killed now."""
        self._process.communicate()

    def _tell(self) -> None:
        """Name every process of the cluster, as long as one can see whose child it is."""
        heads = [child for child in psutil.Process().children() if _has_mark(child, self._mark)]
        if self._process.stdin is None:
            return
        with suppress(psutil.Error, OSError):
            for process in [*heads, *(child for p in heads for child in p.children(True))]:
                self._process.stdin.write(f"{process.pid} {process.create_time()!r}\n")
            self._process.stdin.flush()


def end_all(mark: str, told: set[Identity]) -> None:
    """Kill the processes that carry the mark or were told, and those that they start meanwhile."""
    for _ in range(50):
        left = [p for p in psutil.process_iter() if _is_told(p, told) or _has_mark(p, mark)]
        if not left:
            return
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.1)


def _is_told(process: psutil.Process, told: set[Identity]) -> bool:
    try:
        return (process.pid, process.create_time()) in told and _lives(process)
    except psutil.Error:
        return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark) and _lives(process)
    except psutil.Error:
        return False


def _lives(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)


if __name__ == "__main__":
    lines = [line.split() for line in sys.stdin]
    end_all(sys.argv[1], {(int(pid), float(created)) for pid, created in lines})
