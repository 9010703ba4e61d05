"""A search without models: the plan of the quickstart, and workers that answer at once."""

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from evomerge.config.experiment import Experiment
from evomerge.config.read import read_experiment
from evomerge.records import Failure, ItemScores, Job, Recipe, Result, TaskScores
from evomerge.run.plan import Plan

QUICKSTART = Path(__file__).parents[2] / "quickstart.yaml"
N_DOCUMENTS = 500
FAILS_EVERY = 97


class StoppedError(Exception):
    """The process dies here, as far as a benchmark can make it die."""


def instant_plan(n_evaluations: int, n_groups: int = 8, **search: str | int) -> Plan:
    """The quickstart's search with so many evaluations and layer groups, no model looked at.

    `search` overrides keys of the experiment's section of that name.
    """
    overrides = [f"search.{key}={value}" for key, value in search.items()]
    read = read_experiment(
        QUICKSTART,
        [f"budget.evaluations={n_evaluations}", "tracking.mlflow=false", *overrides],
    )
    if not isinstance(read.experiment, Experiment):
        raise TypeError(f"{QUICKSTART} cannot be read: {read.problems}")
    asked = tuple(range(0, N_DOCUMENTS, N_DOCUMENTS // read.experiment.scoring.items))
    items = {objective.benchmark("search"): asked for objective in read.experiment.objectives}
    return Plan(
        experiment=read.experiment,
        groups=("embeddings", *(f"layers.{n}-{n}" for n in range(n_groups - 2)), "final_norm"),
        items={"search": items, "selection": {}, "test": {}},
        dtype="float32",
        fingerprints={},
    )


class InstantPool:
    """Scores recipes by a formula; one candidate in 97 fails.

    Args:
        stop_after: results after which the process dies.
    """

    def __init__(self, n_workers: int = 4, stop_after: int | None = None) -> None:
        self._n_workers = n_workers
        self._jobs: deque[Job] = deque()
        self._n_left = stop_after

    def free(self) -> int:
        return self._n_workers - len(self._jobs)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def finished(self) -> Iterator[Result]:
        while self._jobs:
            if self._n_left == 0:
                raise StoppedError
            self._n_left = None if self._n_left is None else self._n_left - 1
            yield score(self._jobs.popleft())

    def close(self) -> None:
        self._jobs.clear()


def score(job: Job) -> Result:
    """Which items of each task a recipe answers: more of them the better its level.

    An item is answered where the level, and a little luck that is the candidate's own, exceed the
    item's difficulty.
    """
    luck = np.random.default_rng(int(job.candidate_id, 16))
    if int(job.candidate_id, 16) % FAILS_EVERY == 0:
        return Failure(job.candidate_id, "exception", "a failure by design")
    levels = skill_levels(job.recipe)
    tasks = {}
    for level, (task, items) in zip(levels, job.items.items(), strict=True):
        difficulty = np.random.default_rng(zlib.crc32(task.encode())).random(N_DOCUMENTS)
        answered = level + luck.normal(0.0, 0.1, len(items)) > difficulty[list(items)]
        tasks[task] = TaskScores(items, tuple(answered.astype(float).tolist()))
    return replace(ItemScores(job.candidate_id, tasks, worker="instant"), seconds=0.001)


def skill_levels(recipe: Recipe) -> np.ndarray:
    """`(n_experts,)` in (0, 1]: each expert's skill lives in layers of its own.

    exp(−4 Σₗ wₑₗ ((gₑₗ − tₑₗ)² + 0.3 Σ_f≠e g_fₗ²)) with Σₗ wₑₗ = 1, the shape of the problems in
    experiments/benchmarks/search.
    """
    values = [group.values["coefficient"] for group in recipe.groups.values()]
    genes = np.array(values).T  # (n_experts, n_groups)
    rng = np.random.default_rng(7)
    importance = rng.dirichlet(np.full(genes.shape[1], 0.7), size=genes.shape[0])
    target = rng.uniform(0.3, 0.9, size=genes.shape)
    others = (genes**2).sum(axis=0) - genes**2
    loss = (importance * ((genes - target) ** 2 + 0.3 * others)).sum(axis=1)
    return np.exp(-4.0 * loss)
