"""Which pool a run gets."""

import sys

from evomerge.workers.build import open_pool
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.worker import TaskSpec, WorkerSpec, load_tasks
from tests.tiny import TinyZoo


def test_no_workers_are_one_in_this_process_and_no_ray(tiny_zoo: TinyZoo) -> None:
    tasks = (TaskSpec("choice_search"),)
    spec = WorkerSpec(tiny_zoo.base, tiny_zoo.experts, tasks, tiny_zoo.tasks_path, "float32")
    pool = open_pool(spec, workers=0, benchmarks=load_tasks(tasks, tiny_zoo.tasks_path))
    assert isinstance(pool, InProcessPool)
    assert "evomerge.workers.ray_pool" not in sys.modules or "ray" in sys.modules
    pool.close()
