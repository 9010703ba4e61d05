"""Hypervolume of every controller at equal evaluations, with late tells, on synthetic problems.

python experiments/benchmarks/search/run.py [--seeds 20] [--evaluations 96] [--json]
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass

import numpy as np
from problems import PROBLEMS, Problem

from evomerge.records import Candidate, Estimate, Evaluation, Recipe
from evomerge.search.archive import hypervolume
from evomerge.search.controller import Controller, ask_rng
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS


@dataclass(frozen=True)
class Row:
    """One controller on one problem: hypervolume above zero over the seeds, and its own time."""

    problem: str
    controller: str
    median: float
    quartile_1: float
    quartile_3: float
    ms_per_candidate: float


def search(controller: Controller, problem: Problem, window: Window, seed: int) -> float:
    """The hypervolume after the window's whole budget."""
    points: dict[int, Evaluation] = {}
    while not window.done:
        for step in window.steps():
            if step.action == "ask":
                genome = controller.ask(step.number, ask_rng(seed, step.number))
                points[step.number] = evaluate(problem, step.number, genome)
            else:
                controller.tell(points[step.number])
        for number in window.out:
            window.arrive(number)
    return hypervolume([point.means for point in points.values()], (0.0,) * problem.n_objectives)


def evaluate(problem: Problem, number: int, genome: np.ndarray) -> Evaluation:
    """The scores of a genome as exact estimates."""
    candidate = Candidate(number, tuple(genome.tolist()), Recipe((), {}, seed=number))
    scores = problem.score(genome)
    return Evaluation(candidate, {str(i): Estimate(float(s), 0.0, 1) for i, s in enumerate(scores)})


def measure(problem: Problem, name: str, options: argparse.Namespace) -> Row:
    """One row of the table."""
    volumes = []
    started = time.perf_counter()
    for seed in range(options.seeds):
        controller = CONTROLLERS[name].build(problem.n_dims, options.population, seed)
        window = Window(options.window, options.evaluations)
        volumes.append(search(controller, problem, window, seed))
    ms = 1000 * (time.perf_counter() - started) / (options.seeds * options.evaluations)
    low, median, high = np.quantile(volumes, [0.25, 0.5, 0.75])
    return Row(problem.name, name, float(median), float(low), float(high), ms)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=96)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    return parser.parse_args()


def main() -> None:
    """Print one row for each problem and controller."""
    options = parse()
    rows = [measure(problem, name, options) for problem in PROBLEMS for name in CONTROLLERS]
    print(f"{'problem':20} {'controller':10} {'median':>8} {'q1':>8} {'q3':>8} {'ms each':>8}")
    for row in rows:
        print(
            f"{row.problem:20} {row.controller:10} {row.median:8.4f} {row.quartile_1:8.4f} "
            f"{row.quartile_3:8.4f} {row.ms_per_candidate:8.2f}"
        )
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
