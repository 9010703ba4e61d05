"""How many workers a cluster holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.workers.resources import WorkerResources, capacity

GIB = 1 << 30


@pytest.mark.parametrize(
    ("worker", "n"),
    [
        (WorkerResources(num_cpus=1), 12),
        (WorkerResources(num_cpus=3), 2 + 1),
        (WorkerResources(num_cpus=1, num_gpus=1), 2),
        (WorkerResources(num_cpus=1, num_gpus=1 / 3), 6),
        (WorkerResources(num_cpus=1, num_gpus=0.25), 8),
        (WorkerResources(num_cpus=1, memory_bytes=6 * GIB), 5 + 2),
        (WorkerResources(num_cpus=1, custom={"fast": 1}), 0),
        (WorkerResources(num_cpus=0), 2),
    ],
)
def test_the_scarcest_resource_of_each_node_decides(worker: WorkerResources, n: int) -> None:
    nodes = [
        {"CPU": 8.0, "GPU": 2.0, "memory": 32.0 * GIB, "node:10.0.0.1": 1.0},
        {"CPU": 4.0, "memory": 16.0 * GIB},
    ]
    assert capacity(nodes, worker) == n


def test_a_worker_does_not_span_nodes() -> None:
    assert capacity([{"CPU": 3.0}, {"CPU": 3.0}], WorkerResources(num_cpus=4)) == 0
    assert capacity([], WorkerResources()) == 0


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_fraction_fits_as_often_as_it_says(n_cpus: int, n: int) -> None:
    assert capacity([{"CPU": float(n_cpus)}], WorkerResources(num_cpus=1 / n)) == n_cpus * n


def test_resources_are_told_in_one_line() -> None:
    worker = WorkerResources(
        num_cpus=2, num_gpus=0.5, memory_bytes=22_236_800_000, custom={"fast": 1}
    )
    assert str(worker) == "CPU 2, GPU 0.5, memory 22.2 GB, fast 1"
    assert str(WorkerResources(num_cpus=0)) == "nothing"
