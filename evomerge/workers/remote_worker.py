"""The life of one worker process, as the driver sees it: asked for, placed, ready, gone."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import ray

from evomerge.errors import EvomergeError
from evomerge.records import Job, Result
from evomerge.workers.evaluator import Evaluator


class Stage(Enum):
    """How far a worker has come."""

    PENDING = "waiting for room"
    LOADING = "loading"
    READY = "ready"


class WorkerGoneError(Exception):
    """The process died or cannot be reached any more, or its evaluator cannot be built."""


class WorkerRefusedError(WorkerGoneError):
    """The evaluator cannot be built for a reason that is no accident, such as a missing model."""


@dataclass(frozen=True)
class Finished:
    """A result, and the seconds from the job's beginning until the driver took it in."""

    result: Result
    seconds: float


class RemoteWorker:
    """One actor and what it was given, in the order in which it works on it.

    Jobs are given only to a worker that is READY: loading a model does not count as their time.
    """

    def __init__(self, actor: "ray.actor.ActorHandle", factory: Callable[[], Evaluator]) -> None:
        self._actor = actor
        self._calls = deque([actor.hello.remote(), actor.start.remote(factory)])
        self._jobs: deque[Job] = deque()
        self._since = time.monotonic()
        self.stage = Stage.PENDING
        self.node = ""
        self.name = ""

    @property
    def head(self) -> "ray.ObjectRef | None":
        """The call that it works on; None when it has nothing to do."""
        return self._calls[0] if self._calls else None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What it was given and has not finished: the running job, then the prefetched ones."""
        return tuple(self._jobs)

    @property
    def busy_s(self) -> float:
        """Seconds since its running job began; before there is one, since its stage did."""
        return time.monotonic() - self._since

    def give(self, job: Job) -> None:
        """Send a job, to be run after those that are there."""
        if not self._jobs:
            self._since = time.monotonic()
        self._jobs.append(job)
        self._calls.append(self._actor.run.remote(job))

    def answered(self) -> bool:
        """Whether there is an answer to take in."""
        if not self._calls:
            return False
        ready, _ = ray.wait([self._calls[0]], timeout=0)
        return bool(ready)

    def step(self) -> Finished | None:
        """Take in the answer to the call it works on: the next stage, or a result.

        Raises:
            WorkerGoneError: the answer is that there is no such worker any more.
        """
        answer = self._answer()
        self._calls.popleft()
        seconds, self._since = self.busy_s, time.monotonic()
        if self.stage is Stage.READY:
            self._jobs.popleft()
            return Finished(answer, seconds)
        if self.stage is Stage.PENDING:
            self.node, self.stage = answer, Stage.LOADING
        else:
            self.name, self.stage = answer, Stage.READY
        return None

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        ray.kill(self._actor)

    def _answer(self) -> Any:
        """What the actor's method returned; Ray does not tell the type."""
        try:
            return ray.get(self._calls[0])
        except ray.exceptions.RayTaskError as error:
            kind = WorkerRefusedError if isinstance(error.cause, EvomergeError) else WorkerGoneError
            raise kind(f"{type(error.cause).__name__}: {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise WorkerGoneError(_in_short(error)) from error


def _in_short(error: Exception) -> str:
    """The line of Ray's message that says why, without its tables and its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if " because " in line]
    return (telling or lines or [type(error).__name__])[-1].split(" Some common causes")[0]
