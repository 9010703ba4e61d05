"""Workers that merge and score, on Ray: how each is built where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import PicklingError

import ray

from evomerge.errors import ScoringError
from evomerge.scoring.scorers import AnyBenchmark, tokenised
from evomerge.workers.cluster import connect
from evomerge.workers.ray_pool import RayPool
from evomerge.workers.resources import WorkerResources
from evomerge.workers.worker import Worker, WorkerSpec, require_models


@dataclass(frozen=True)
class WorkerFactory:
    """Builds a worker on whatever node Ray puts it.

    On another node than the driver's its models are first compared with those of the driver.
    """

    spec: WorkerSpec
    benchmarks: "ray.ObjectRef[Mapping[str, AnyBenchmark]]"
    home: str

    def __call__(self) -> Worker:
        """The worker.

        Raises:
            ModelError: the models cannot be opened or merged, or are not those of the driver.
        """
        if ray.get_runtime_context().get_node_id() != self.home:
            require_models(self.spec)
        return Worker(self.spec, ray.get(self.benchmarks))


def open_ray_pool(
    spec: WorkerSpec,
    *,
    workers: int | None,
    address: str | None,
    resources: WorkerResources,
    spool: Path | None,
    benchmarks: Mapping[str, AnyBenchmark],
    environment: Mapping[str, str],
) -> RayPool:
    """A pool on a Ray that is started or joined for it, and left when it is closed.

    Raises:
        InfrastructureError: Ray does not start or cannot be joined.
        ScoringError: the code of a task cannot travel to workers.
    """
    cluster = connect(address, workers=workers, resources=resources)
    try:
        # Compiled and tokenised once: no worker needs the task files.
        ready = tokenised(benchmarks, spec.base)
        tasks = _share({name: benchmark.portable() for name, benchmark in ready.items()})
        return RayPool(
            WorkerFactory(spec, tasks, cluster.node),
            workers=workers or None,
            resources=resources,
            timeout_s=spec.timeout_s,
            spool=spool,
            environment=environment,
            patience_s=LOCAL_PATIENCE_S if cluster.local else CLUSTER_PATIENCE_S,
            release=cluster.disconnect,
        )
    except BaseException:
        cluster.disconnect()
        raise


def _share(
    benchmarks: Mapping[str, AnyBenchmark],
) -> "ray.ObjectRef[Mapping[str, AnyBenchmark]]":
    """The benchmarks where every worker can get them."""
    try:
        return ray.put(benchmarks)
    except (TypeError, PicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ScoringError(
            f"the tasks cannot be sent to workers: {reason}; code of a task may use nothing that "
            "cannot be copied, such as an open file or a lock: make it inside the function, or "
            "run with workers: 0"
        ) from error


LOCAL_PATIENCE_S, CLUSTER_PATIENCE_S = 15.0, 900.0
"""Seconds without room for one worker: this machine will not grow, a cluster may."""
