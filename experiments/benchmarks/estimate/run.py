"""How well each estimator tells the score on all items from 20, 50 or 100 of them.

    python experiments/benchmarks/estimate/run.py [--json] [--matrix FILE] [--seeds N]

On the response matrices of the zoo's merges (`responses.py`), or on tables of one's own: rows
models, columns items, CSV, Parquet or npz. Models that calibrate and models that are estimated are
disjoint; seeds draw the items, and every `--draws` seeds the models are split anew. `ratio` is the
mean absolute error over that of the mean of common random items, of the same seeds.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from experiments.benchmarks.estimate.estimators import Fitted
from experiments.benchmarks.estimate.matrices import Matrix, read_table, read_zoo
from experiments.benchmarks.estimate.measures import Result, measures
from experiments.benchmarks.estimate.table import plain, print_table, print_wins, summarise, wins

N_ENDPOINTS = 4
MAX_TEST = 100
FEWEST_TEST = 20


@dataclass(frozen=True)
class Part:
    """One split of a task's models, and how often its items are drawn."""

    matrix: Matrix
    n_models: int
    split: int
    n_draws: int


def main() -> None:
    options = parse()
    matrices = [read_table(path) for path in options.matrix] or read_zoo(
        Path(__file__).with_name("zoo.npz")
    )
    parts = list(parts_of(matrices, options.calibration, options.seeds, options.draws))
    results = list(finished(parts, options.processes))
    rows, pooled = summarise(results), summarise(results, pooled=True)
    print_table(rows)
    print_table(pooled)
    print_wins(wins(rows))
    if options.json:
        print(json.dumps({"rows": plain(rows), "pooled": plain(pooled), "wins": wins(rows)}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matrix", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--draws", type=int, default=20, help="of the items, a split of the models")
    parser.add_argument("--calibration", type=int, nargs="*", default=[300, 40])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    return parser.parse_args()


def parts_of(
    matrices: Sequence[Matrix], calibration: Sequence[int], n_seeds: int, n_draws: int
) -> Iterator[Part]:
    """Splits of all tasks in turn, until there are as many draws as seeds."""
    for split, first in enumerate(range(0, n_seeds, n_draws)):
        for matrix, n_models in product(matrices, calibration):
            if len(matrix.models) >= n_models + FEWEST_TEST:
                yield Part(matrix, n_models, split, min(n_draws, n_seeds - first))
            elif not split:
                print(f"{matrix.task}: {len(matrix.models)} models, too few to fit {n_models}")


def finished(parts: Sequence[Part], n_processes: int) -> Iterator[Result]:
    """The results of every part; after an interrupt those of the splits that are complete."""
    done: list[list[Result]] = []
    pool = ProcessPoolExecutor(n_processes) if n_processes > 1 else None
    try:
        for found in (pool.map if pool else map)(compare, parts):
            done.append(found)
            print(f"{len(done)} of {len(parts)} parts", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        n_whole = parts[len(done)].split
        print(f"stopped after {n_whole} splits")
        done = [found for found in done if found[0].split < n_whole]
    if pool:
        pool.shutdown(wait=False, cancel_futures=True)
    return chain.from_iterable(done)


def compare(part: Part) -> list[Result]:
    """Every estimator at every size, on each draw of the items."""
    matrix, rng = part.matrix, np.random.default_rng([part.split, part.n_models])
    calibration, test = divide(matrix, part.n_models, rng)
    fitted = Fitted(calibration, matrix.responses[:N_ENDPOINTS], part.split)
    truth = test.mean(axis=1)
    return [
        Result(
            matrix.task, part.n_models, part.split, name, n, (*measures(estimates, truth), check)
        )
        for _ in range(part.n_draws)
        for name, n, estimates, check in fitted.results(test, rng)
    ]


def divide(
    matrix: Matrix, n_models: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration models, endpoints among them, and up to `MAX_TEST` others."""
    rest = N_ENDPOINTS + rng.permutation(len(matrix.models) - N_ENDPOINTS)
    chosen, others = np.split(rest, [n_models - N_ENDPOINTS])
    first = np.concatenate([np.arange(N_ENDPOINTS), chosen])
    return matrix.responses[first], matrix.responses[others[:MAX_TEST]]


if __name__ == "__main__":
    main()
