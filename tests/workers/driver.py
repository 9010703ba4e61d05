"""A driver in a process of its own, for tests that end or refuse it: `python driver.py ADDRESS`.

Prints one line of JSON when its workers are busy, then waits for a signal. `-` starts a Ray.
"""

import json
import os
import signal
import sys
import time

import ray

from evomerge.errors import InfrastructureError
from evomerge.records import ItemScores, Job, Recipe, Result
from evomerge.run.interrupt import Interrupted, interruptible
from evomerge.workers.cluster import connect
from evomerge.workers.ray_pool import RayPool
from evomerge.workers.resources import WorkerResources

WORKERS = 2
JOB = Job("job", Recipe(experts=(), groups={}), {})


class Busy:
    """Answers the first job, then works for ever and heeds no signal."""

    def __init__(self) -> None:
        self.name = str(os.getpid())
        self._n_jobs = 0

    def run(self, job: Job) -> Result:
        self._n_jobs += 1
        if self._n_jobs > 1:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            time.sleep(3600)
        return ItemScores(job.candidate_id, {}, job.phase, 0.0, self.name)


def work(address: str | None) -> None:
    cluster = connect(address, workers=WORKERS, resources=WorkerResources(num_cpus=4))
    pool = RayPool(
        Busy,
        workers=WORKERS,
        resources=WorkerResources(num_cpus=0.01),
        release=cluster.disconnect,
    )
    try:
        for _ in range(2 * WORKERS):
            pool.submit(JOB)
        workers = set()
        while len(workers) < WORKERS:
            workers |= {result.worker for result in pool.finished()}
        print(json.dumps({"cpus": ray.cluster_resources()["CPU"]}), flush=True)
        list(pool.finished())
    finally:
        pool.close()


if __name__ == "__main__":
    ray.cloudpickle.register_pickle_by_value(sys.modules[Busy.__module__])
    try:
        with interruptible():
            work(None if sys.argv[1] == "-" else sys.argv[1])
    except Interrupted as interruption:
        sys.exit(interruption.exit_code)
    except InfrastructureError as error:
        sys.exit(f"refused: {error}")
