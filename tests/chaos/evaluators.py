"""Evaluators that misbehave on purpose; they travel to the workers, so they import little."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass

from evomerge.records import Failure, ItemScores, Job, Result, TaskScores


def scores_of(job: Job) -> ItemScores:
    """Item results that are a function of the recipe alone: item i is right below a threshold."""
    digest = hashlib.sha256(job.candidate_id.encode()).digest()
    tasks = {
        task: TaskScores(items, tuple(float(item * 256 < digest[k] * len(items)) for item in items))
        for k, (task, items) in enumerate(job.items.items())
    }
    return ItemScores(job.candidate_id, tasks, job.phase, worker=str(os.getpid()))


@dataclass(frozen=True)
class Waiting:
    """Takes `seconds` for each job, as a model on an accelerator would, and no processor."""

    seconds: float
    name: str = "waiting"

    def run(self, job: Job) -> Result:
        time.sleep(self.seconds)
        return scores_of(job)


@dataclass(frozen=True)
class Misbehaving:
    """Scores at once, but meets every n-th recipe with a fault: `death`, `hang` or `nan`."""

    fault: str
    every: int = 10
    name: str = "misbehaving"

    def run(self, job: Job) -> Result:
        if not is_chosen(job.candidate_id, self.every):
            time.sleep(0.05)
            return scores_of(job)
        if self.fault == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(3600)
        return Failure(job.candidate_id, "non_finite", "a NaN by design", job.phase)


def is_chosen(candidate_id: str, every: int) -> bool:
    """Whether a recipe is one of those that a fault strikes."""
    return int(candidate_id, 16) % every == 0
