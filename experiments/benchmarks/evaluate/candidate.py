"""A candidate from recipe to scores, ours beside the path that others take.

Ours merges into the live model and scores it; theirs is mergekit's `run_merge` to disk, in a Python
that has it, then `from_pretrained` and `simple_evaluate` here. Both merge three experts by TIES and
score 20 multiple-choice and 20 generated items; imports and task files are loaded before.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lm_eval_side import evaluate, wrap

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer

EXPERTS = ("math", "german", "lists")
TASKS = ("german_test", "math_de_test")
ITEMS = {task: tuple(range(20)) for task in TASKS}
ROUNDS = 5
THEIRS = Path(__file__).with_name("theirs.py")


def compare(zoo: Path, mergekit: str) -> dict[str, float]:
    """Seconds a candidate on the clock and of the processor: the fastest of several each."""
    ours, theirs = _ours(zoo), _theirs(zoo, mergekit)
    found = {}
    for name, own, other in zip(("clock", "processor"), ours, theirs, strict=True):
        found |= {
            f"ours, {name}": float(own),
            f"theirs, {name}": float(other),
            f"theirs over ours, {name}": float(other / own),
        }
    return found


def _ours(zoo: Path) -> np.ndarray:
    models = zoo / "models"
    resident = ResidentModel.from_folder(models / "base", dtype=torch.float32)
    base = open_checkpoint(models / "base")
    merge = PreparedMerge(base, {name: open_checkpoint(models / name) for name in EXPERTS})
    scorer = Scorer(resident, load_benchmarks(TASKS, tasks_path=zoo / "tasks"))
    groups = layer_groups(base.infos(), granularity=1, split_modules=False)
    rng = np.random.default_rng(0)

    def candidate() -> None:
        values = {"coefficient": tuple(rng.uniform(0.3, 0.9, 3)), "density": (0.5,) * 3}
        recipe = Recipe(EXPERTS, dict.fromkeys(groups, GroupRecipe("ties", values)))
        merge.materialise(recipe, resident.tensors)
        for task, items in ITEMS.items():
            scorer.score(task, items)

    candidate()  # the first compiles and plans
    return np.min([_timed(candidate) for _ in range(5 * ROUNDS)], axis=0)


def _theirs(zoo: Path, mergekit: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        command = [mergekit, str(THEIRS), str(zoo / "models"), folder, str(ROUNDS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        merging = json.loads(done.stdout.splitlines()[-1])
        tasks_path = (zoo / "tasks").resolve()
        loading = [
            _timed(lambda path=path: _load_and_evaluate(path, tasks_path))
            for path in sorted(Path(folder).iterdir())
        ]
    return np.min(np.array(merging) + np.array(loading), axis=0)


def _load_and_evaluate(path: Path, tasks_path: Path) -> None:
    resident = ResidentModel.from_folder(path, dtype=torch.float32)
    evaluate(wrap(resident, 32), ITEMS, tasks_path)


def _timed(work: Callable[[], object]) -> np.ndarray:
    """Seconds on the clock and of processor time."""
    start = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - start
