"""Which pool a run gets."""

import os
import subprocess
import sys
from pathlib import Path

from evomerge.workers.build import open_pool
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.worker import WorkerSpec
from tests.tiny import TinyZoo


def test_no_workers_are_one_in_this_process(tiny_zoo: TinyZoo) -> None:
    spec = WorkerSpec(tiny_zoo.base, tiny_zoo.experts, "float32")
    pool = open_pool(spec, benchmarks={}, workers=0)
    assert isinstance(pool, InProcessPool)
    pool.close()


def test_ray_is_not_imported_before_it_is_wanted() -> None:
    code = "import sys, evomerge.workers.build; sys.exit('ray' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
