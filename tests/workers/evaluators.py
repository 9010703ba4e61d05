"""Evaluators that do on command what goes wrong in real ones, and the jobs that command them.

A job's candidate is named `<deed>` or `<deed>:<anything>`; see `DEEDS`. They import nothing of
the tests, as they travel to Ray's workers by value.
"""

import math
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evomerge.errors import ModelError
from evomerge.records import Failure, ItemScores, Job, Recipe, Result, TaskScores
from evomerge.workers.deadline import deadline

RECIPE = Recipe(experts=(), groups={})
ITEMS = (3, 1, 4)


def job(deed: str) -> Job:
    """A job that makes an `Obedient` evaluator do something: `quick`, `sleep=0.2`, `die`."""
    return Job(deed, RECIPE, {"task": ITEMS})


def jobs(n: int, deed: str = "quick") -> list[Job]:
    """Jobs that differ in name only."""
    return [job(f"{deed}:{number}") for number in range(n)]


class Obedient:
    """Does what the name of a candidate says."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, job: Job) -> Result:
        deed, _, value = job.candidate_id.split(":")[0].partition("=")
        DEEDS[deed](value)
        score = math.nan if deed == "nan" else len(job.candidate_id) / 7
        scores = TaskScores(job.items["task"], tuple(score for _ in job.items["task"]))
        return ItemScores(job.candidate_id, {"task": scores}, job.phase, 0.0, self.name)


def _raise(message: str) -> None:
    raise ValueError(message)


def _die(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(_: str) -> None:
    """As native code does: no signal is heeded."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    time.sleep(3600)


DEEDS: dict[str, Callable[[str], None]] = {
    "quick": lambda _: None,
    "nan": lambda _: None,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "raise": _raise,
    "die": _die,
    "hang": _hang,
    "exit": lambda _: os._exit(3),
}


class SlowToStart(Obedient):
    """Takes its time before the first job."""

    def __init__(self, seconds: float) -> None:
        time.sleep(seconds)
        super().__init__()


class TimeLimited(Obedient):
    """Keeps its time limit by itself, as real workers do."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def run(self, job: Job) -> Result:
        with deadline(self._seconds):
            return super().run(job)


def fails_first(tried: Path) -> Obedient:
    """A factory that fails until there is a file, which it makes when it fails."""
    if not tried.exists():
        tried.touch()
        raise OSError("the disk was away for a moment")
    return Obedient()


def refuse() -> Obedient:
    """A factory of a worker whose models are not there."""
    raise ModelError("no such model on this node")


def die_at_start() -> Obedient:
    """A factory that takes the process with it."""
    os._exit(4)


def names(results: Sequence[Result]) -> list[str]:
    """Who the results are of, sorted: a pool gives them back in any order."""
    return sorted(result.candidate_id for result in results)


def reasons(results: Sequence[Result]) -> dict[str, str]:
    """Why candidates failed, by their names; only those that did."""
    return {r.candidate_id: r.reason for r in results if isinstance(r, Failure)}
