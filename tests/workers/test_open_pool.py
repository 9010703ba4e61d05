"""Which pool a run gets."""

import sys

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.workers.build import open_pool
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.worker import WorkerSpec
from tests.tiny import TinyZoo


def test_no_workers_are_one_in_this_process_and_no_ray(tiny_zoo: TinyZoo) -> None:
    spec = WorkerSpec(tiny_zoo.base, tiny_zoo.experts, "float32")
    tasks = load_benchmarks(["choice_search"], tasks_path=tiny_zoo.tasks_path)
    pool = open_pool(spec, workers=0, benchmarks=tasks)
    assert isinstance(pool, InProcessPool)
    assert "evomerge.workers.ray_pool" not in sys.modules or "ray" in sys.modules
    pool.close()
