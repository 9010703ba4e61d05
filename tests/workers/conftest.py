"""A Ray cluster for the tests of a file, and pools of obedient workers on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evomerge.workers.pool import Pool
from evomerge.workers.resources import WorkerResources
from tests.workers import evaluators

OpenPool = Callable[..., Pool]
TINY = WorkerResources(num_cpus=0.01)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A local Ray, started as a run starts it; gone before another file starts its own."""
    import ray

    from evomerge.workers.cluster import connect

    connected = connect(None, workers=4)
    ray.cloudpickle.register_pickle_by_value(evaluators)
    yield connected
    connected.disconnect()


@pytest.fixture(scope="module")
def ray_pool(cluster: Any) -> Iterator[OpenPool]:
    """Opens pools on the cluster, and closes them at the end of the file."""
    from evomerge.workers.ray_pool import RayPool

    opened: list[Pool] = []

    def open_pool(factory: Any = evaluators.Obedient, **options: Any) -> Pool:
        opened.append(RayPool(factory, **{"workers": 2, "resources": TINY, **options}))
        return opened[-1]

    yield open_pool
    for pool in opened:
        pool.close()
