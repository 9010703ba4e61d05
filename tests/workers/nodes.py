"""A cluster of several nodes on this machine, none of whose workers is on the driver's node.

`python nodes.py` takes one node away and adds another while jobs run; `python nodes.py FOLDER` asks
for workers whose base, in FOLDER, is not the one that the driver knows. Prints one line of JSON.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from evomerge.errors import InfrastructureError
from evomerge.records import Failure, ItemScores, Job, Recipe, Result
from evomerge.workers import ray_private
from evomerge.workers.cluster import connect
from evomerge.workers.ray_pool import RayPool
from evomerge.workers.ray_workers import WorkerFactory
from evomerge.workers.worker import WorkerSpec

N_JOBS = 60
RECIPE = Recipe(experts=(), groups={})


class Steady:
    """Takes a fifth of a second, and tells the node that it is on."""

    def __init__(self) -> None:
        self.name = ray.get_runtime_context().get_node_id()

    def run(self, job: Job) -> Result:
        time.sleep(0.2)
        return ItemScores(job.candidate_id, {}, job.phase, 0.2, self.name)


def lose_one_and_get_another(cluster: Cluster, doomed: object) -> dict[str, object]:
    """Run the jobs; kill a node after a third of them, add one after half."""
    pool = RayPool(Steady)
    waiting = [Job(str(number), RECIPE, {}) for number in range(N_JOBS)]
    submitted: Counter[str] = Counter()
    returned: Counter[str] = Counter()
    scored_on: dict[str, str] = {}
    to_do: list[Callable[[], object]] = [
        lambda: cluster.remove_node(doomed, allow_graceful=False),
        lambda: cluster.add_node(num_cpus=1),
    ]
    while len(scored_on) < N_JOBS or len(set(scored_on.values())) < 3:
        if not waiting and not submitted - returned:
            waiting = [Job(f"more {len(submitted)}", RECIPE, {})]
        while waiting and pool.free():
            submitted[waiting[-1].candidate_id] += 1
            pool.submit(waiting.pop())
        for result in pool.finished():
            returned[result.candidate_id] += 1
            if isinstance(result, Failure):
                waiting.append(Job(result.candidate_id, RECIPE, {}))
            else:
                scored_on[result.candidate_id] = result.worker
        both = len(set(scored_on.values())) == 2
        if to_do and both and len(scored_on) > N_JOBS // (1 + len(to_do)):
            to_do.pop(0)()
    pool.close()
    return {
        "lost": N_JOBS - len([name for name in scored_on if name.isdigit()]),
        "repeated": len([name for name in returned if returned[name] != submitted[name]]),
        "nodes": len(set(scored_on.values())),
    }


def ask_for_another_model(base: Path, home: str) -> dict[str, object]:
    """What the pool says when no node has the driver's base."""
    prints = {"model:base": "another"}
    spec = WorkerSpec(base, {}, dtype="float32", fingerprints=prints)
    pool = RayPool(WorkerFactory(spec, ray.put({}), home), workers=1)
    pool.submit(Job("0", RECIPE, {}))
    try:
        return {"results": len(list(pool.finished()))}
    except InfrastructureError as error:
        return {"error": str(error)}


def start() -> Cluster:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray_private.stay_on_loopback()
    ray_private.authenticate()
    return Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False},
    )


def main(base: Path | None) -> None:
    cluster = start()
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2 if base is None else 1)]
    cluster.wait_for_nodes()
    connected = connect(cluster.address)
    try:
        if base is None:
            report = lose_one_and_get_another(cluster, nodes[-1])
        else:
            report = ask_for_another_model(base, connected.node)
        print(json.dumps(report), flush=True)
    finally:
        connected.disconnect()
        cluster.shutdown()


if __name__ == "__main__":
    ray.cloudpickle.register_pickle_by_value(sys.modules[Steady.__module__])
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
