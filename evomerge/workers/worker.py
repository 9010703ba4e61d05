"""One worker: a resident model, the sources to merge into it, and the benchmarks to score it on."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import NonFiniteError
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import Failure, ItemScores, Job, Result
from evomerge.scoring.benchmark import Benchmark, load_benchmarks
from evomerge.scoring.resident import DTYPES, NonFiniteScore, ResidentModel
from evomerge.scoring.scorer import Scorer
from evomerge.workers.deadline import DeadlineExceededError, deadline

LONGEST_MESSAGE = 2000
"""Characters of a failure's message that the journal keeps."""


@dataclass(frozen=True)
class TaskSpec:
    """An lm-eval task as an experiment wants it; None leaves the choice to the task."""

    name: str
    metric: str | None = None
    num_fewshot: int | None = None


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker is made from, as plain values that can travel.

    Args:
        base: folder of the base model.
        experts: folders of the experts by name.
        tasks: every task that a job may name.
        tasks_path: folder of local lm-eval tasks.
        dtype: name of the dtype that forward passes compute in.
        threads: CPU threads of torch.
        batch_size: sequences per forward pass.
        timeout_s: seconds that one job may take; None for no limit.
    """

    base: Path
    experts: Mapping[str, Path]
    tasks: tuple[TaskSpec, ...]
    tasks_path: Path | None
    dtype: str
    threads: int = 1
    batch_size: int = 64
    timeout_s: float | None = None


class Worker:
    """Evaluates one job at a time; whatever goes wrong in a job is its result, not an exception.

    Raises:
        ModelError: the models cannot be opened or merged.
        ScoringError: a task cannot be loaded.
    """

    def __init__(self, spec: WorkerSpec, benchmarks: Mapping[str, Benchmark] | None = None) -> None:
        torch.set_num_threads(spec.threads)
        self._spec = spec
        self._model = ResidentModel.from_folder(spec.base, dtype=DTYPES[spec.dtype])
        self._merge = PreparedMerge(
            open_checkpoint(spec.base),
            {name: open_checkpoint(path) for name, path in spec.experts.items()},
        )
        tasks = load_tasks(spec.tasks, spec.tasks_path) if benchmarks is None else benchmarks
        self._scorer = Scorer(self._model, tasks, batch_size=spec.batch_size)
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, job: Job) -> Result:
        """Merge the job's recipe into the resident model and score it on the job's items."""
        start = time.monotonic()
        try:
            with deadline(self._spec.timeout_s):
                self._merge.materialise(job.recipe, self._model.tensors)
                scores = {
                    task: self._scorer.score(task, items) for task, items in job.items.items()
                }
        except (NonFiniteError, NonFiniteScore) as error:
            return self._failure(job, "non_finite", error)
        except DeadlineExceededError as error:
            return self._failure(job, "timeout", error)
        except Exception as error:  # a candidate that cannot be evaluated must not end the search
            return self._failure(job, "exception", error)
        seconds = time.monotonic() - start
        return ItemScores(job.candidate_id, scores, job.phase, seconds, self._name)

    def _failure(self, job: Job, reason: str, error: Exception) -> Failure:
        message = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
        return Failure(job.candidate_id, reason, message, job.phase, self._name)


def load_tasks(tasks: tuple[TaskSpec, ...], tasks_path: Path | None) -> dict[str, Benchmark]:
    """Every task with its requests built, by name.

    Raises:
        ScoringError: a task cannot be loaded as wanted.
    """
    benchmarks: dict[str, Benchmark] = {}
    for task in tasks:
        benchmarks |= load_benchmarks(
            [task.name],
            tasks_path=tasks_path,
            num_fewshot=task.num_fewshot,
            metrics={task.name: task.metric} if task.metric else None,
        )
    return benchmarks
