"""Score merges of the zoo on every test item of every task: what estimators are tried on.

    python experiments/benchmarks/estimate/responses.py [--models N] [--out FILE.npz]

Base and experts first, then random layer-wise merges, the methods in turn. Model k is a function of
k alone and the file is written every few models, so a second call goes on where the first ended.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS
from evomerge.records import GroupRecipe, ItemScores, Job, ParameterValue, Recipe
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.workers.worker import Worker, WorkerSpec
from experiments.benchmarks.estimate.matrices import Matrix, read_zoo, write_zoo

ZOO = Path(__file__).parents[2] / "zoo"
EXPERTS = ("math", "german", "lists")
TASKS = ("math", "german", "lists", "math_de", "say_english", "say_german")
TURNS = ("task_arithmetic", "ties", "task_arithmetic", "dare_ties", "task_arithmetic", "linear")
SAVE_EVERY = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=440)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("zoo.npz"))
    options = parser.parse_args()
    names = [f"{task}_test" for task in TASKS]
    benchmarks = load_benchmarks(names, tasks_path=ZOO / "tasks")
    experts = {name: ZOO / "models" / name for name in EXPERTS}
    worker = Worker(WorkerSpec(ZOO / "models" / "base", experts, "float32"), benchmarks)
    items = {name: tuple(range(benchmark.n_items)) for name, benchmark in benchmarks.items()}
    matrices = read_zoo(options.out) if options.out.exists() else []
    n_done = len(matrices[0].models) if matrices else 0
    answers = {matrix.task: list(matrix.responses) for matrix in matrices}
    models = list(matrices[0].models) if matrices else []
    for k, (label, recipe) in enumerate(recipes(options.models)):
        if k < n_done:
            continue
        scores = worker.run(Job(recipe.digest, recipe, items))
        append(answers, scores)
        models.append(f"{label}:{recipe.digest}")
        print(k, label, {task: f"{np.mean(row[-1]):.3f}" for task, row in answers.items()})
        if k % SAVE_EVERY == SAVE_EVERY - 1 or k == options.models - 1:
            write_zoo(
                options.out,
                [
                    Matrix(task, tuple(models), items[task], np.array(rows, dtype=bool))
                    for task, rows in answers.items()
                ],
            )


def append(answers: dict[str, list[np.ndarray]], scores: ItemScores) -> None:
    for task, result in scores.tasks.items():
        answers.setdefault(task, []).append(np.array(result.values) > 0.5)


def recipes(n_models: int) -> Iterator[tuple[str, Recipe]]:
    """The first models, each with what it is: `base`, an expert's name, or a method."""
    names = open_checkpoint(ZOO / "models" / "base").infos()
    groups = layer_groups(names, granularity=1, split_modules=False)
    ends = {"base": (0.0,) * 3} | dict(zip(EXPERTS, np.eye(3).tolist(), strict=True))
    for label, coefficients in ends.items():
        values: dict[str, ParameterValue] = {"coefficient": tuple(coefficients)}
        recipe = {group: GroupRecipe("task_arithmetic", values) for group in groups}
        yield label, Recipe(EXPERTS, recipe)
    for k in range(len(ends), n_models):
        method = TURNS[k % len(TURNS)]
        yield method, random_merge(method, groups, np.random.default_rng([k, 5]))


def random_merge(method: str, groups: tuple[str, ...], rng: np.random.Generator) -> Recipe:
    """Values around a centre drawn once a model, so that weak, lopsided and good merges occur."""
    centre, spread = rng.random(len(EXPERTS)), rng.uniform(0.0, 0.5)

    def value(parameter: str, low: float, high: float, per_expert: bool) -> ParameterValue:
        places = np.clip(centre + spread * rng.normal(size=len(EXPERTS)), 0.0, 1.0)
        values = [round(float(low + place * (high - low)), 6) for place in places]
        return tuple(values) if per_expert else values[0]

    table = METHODS[method].parameters
    recipe = {
        group: GroupRecipe(
            method, {p.name: value(p.name, p.low, p.high, p.per_expert) for p in table}
        )
        for group in groups
    }
    return Recipe(EXPERTS, recipe, seed=0)


if __name__ == "__main__":
    main()
