"""Kills a random worker of this process's cluster, again and again."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


def worker_pids(root: int | None = None) -> list[int]:
    """The processes under `root` (this one by default) that evaluate candidates."""
    processes = psutil.Process(root or os.getpid()).children(recursive=True)
    found = []
    for process in processes:
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if title.startswith("ray::WorkerProcess"):
                found.append(process.pid)
    return found


@contextmanager
def killing_workers(every_s: float, seed: int = 0) -> Iterator[list[int]]:
    """While the block runs, SIGKILL a random worker every so many seconds; who was killed."""
    killed: list[int] = []
    over = threading.Event()
    rng = random.Random(seed)  # noqa: S311 - who dies is no secret

    def kill() -> None:
        while not over.wait(every_s):
            if pids := worker_pids():
                killed.append(rng.choice(pids))
                with suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
