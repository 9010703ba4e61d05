"""The pool that a run wants: in this process, on a Ray of its own, or on a cluster."""

import os
from collections.abc import Mapping
from pathlib import Path

from evomerge.scoring.scorers import AnyBenchmark
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.pool import Pool
from evomerge.workers.resources import WorkerResources
from evomerge.workers.worker import Worker, WorkerSpec

CARRIED_OVER = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS")
"""Variables that workers have as the driver has them."""


def open_pool(
    spec: WorkerSpec,
    *,
    benchmarks: Mapping[str, AnyBenchmark],
    workers: int | None,
    address: str | None = None,
    resources: WorkerResources | None = None,
    spool: Path | None = None,
) -> Pool:
    """A pool of workers made from `spec`; closing it also ends the Ray that was started for it.

    Args:
        benchmarks: every benchmark that a job may name.
        workers: how many; 0 for one in this process, None for as many as there is room for.
        address: of a Ray cluster to join; None for this machine.
        resources: what each worker takes of the cluster.
        spool: folder in which workers on Ray leave their results.

    Raises:
        InfrastructureError: Ray does not start or cannot be joined.
        ModelError: the models cannot be opened or merged.
    """
    if workers == 0 and address is None:
        return InProcessPool(Worker(spec, benchmarks))
    from evomerge.workers.ray_workers import open_ray_pool  # Ray takes its time

    return open_ray_pool(
        spec,
        workers=workers,
        address=address,
        resources=resources or WorkerResources(),
        spool=spool,
        benchmarks=benchmarks,
        environment=worker_environment(spec),
    )


def worker_environment(spec: WorkerSpec) -> dict[str, str]:
    """What a worker's libraries read before they start: its threads, and what the driver set."""
    threads = str(spec.threads)
    own = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }
    return own | {name: os.environ[name] for name in CARRIED_OVER if name in os.environ}
