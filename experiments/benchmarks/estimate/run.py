"""How well each estimator tells the score on all items from 20, 50 or 100 of them.

    python experiments/benchmarks/estimate/run.py [--json] [--matrix FILE] [--seeds N]

On the response matrices of the zoo's merges (`responses.py`), or on tables of one's own: rows
models, columns items, CSV or Parquet. Models that calibrate and models that are estimated are
disjoint; seeds draw the items, and every `--draws` seeds the models are split anew. `ratio` is the
mean absolute error over that of the mean of common random items, of the same seeds.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from evomerge.irt.adaptive import SIZES, Adaptive, ask, fit_adaptive, flag_items
from evomerge.irt.design import Difference, Mean, Stratified
from evomerge.irt.estimator import Estimates, Estimator
from evomerge.irt.published import Anchors, Generalised, MpIrt, PIrt
from evomerge.irt.regression import Ridge
from evomerge.irt.traits import Traits, fit_traits
from experiments.benchmarks.estimate.matrices import Matrix, read_table, read_zoo
from experiments.benchmarks.estimate.measures import COLUMNS, measures, print_table
from experiments.benchmarks.estimate.selection import after_selection

N_ENDPOINTS = 4
N_TRAITS_PUBLISHED = 5
MAX_TEST = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matrix", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--draws", type=int, default=20, help="of the items, a split of the models")
    parser.add_argument("--calibration", type=int, nargs="*", default=[300, 40])
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    matrices = [read_table(path) for path in options.matrix] or read_zoo(
        Path(__file__).with_name("zoo.npz")
    )
    rows = []
    for n_models in options.calibration:
        for matrix in matrices:
            if len(matrix.models) < n_models + 20:
                print(f"{matrix.task}: {len(matrix.models)} models, too few to fit {n_models}")
                continue
            rows += compare(matrix, n_models, options.seeds, options.draws)
            print_table([row for row in rows if row["task"] == matrix.task][-3 * 13 :])
    print_table(pooled(rows))
    if options.json:
        print(json.dumps({"rows": plain(rows), "pooled": plain(pooled(rows))}))


def compare(matrix: Matrix, n_models: int, n_seeds: int, n_draws: int) -> list[dict[str, object]]:
    """A row for each estimator and number of items."""
    found: dict[tuple[str, int], list[list[float]]] = {}
    for split in range(-(-n_seeds // n_draws)):
        rng = np.random.default_rng([split, n_models])
        calibration, test = divide(matrix, n_models, rng)
        fitted = Fitted(calibration, matrix.responses[:N_ENDPOINTS], split)
        for _ in range(min(n_draws, n_seeds - split * n_draws)):
            for name, n, estimates, extra in fitted.results(test, rng):
                cell = found.setdefault((name, n), [])
                cell.append([split, *measures(estimates, test.mean(axis=1)), extra])
    return [
        {"task": matrix.task, "calibration": n_models, "estimator": name, "items": n}
        | summary(np.array(cell), np.array(found["mean", n]))
        for (name, n), cell in found.items()
    ]


def divide(
    matrix: Matrix, n_models: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration models, endpoints among them, and up to `MAX_TEST` others."""
    rest = N_ENDPOINTS + rng.permutation(len(matrix.models) - N_ENDPOINTS)
    chosen, others = np.split(rest, [n_models - N_ENDPOINTS])
    first = np.concatenate([np.arange(N_ENDPOINTS), chosen])
    return matrix.responses[first], matrix.responses[others[:MAX_TEST]]


class Fitted:
    """All estimators fitted to the same calibration models; the first rows count as endpoints."""

    def __init__(self, responses: np.ndarray, endpoints: np.ndarray, seed: int) -> None:
        barred = [place for places in flag_items(responses).values() for place in places]
        self.responses = responses
        self.ours = fit_adaptive(responses, barred=barred, seed=seed)
        one = fit_traits(responses, 1)
        many = fit_traits(responses, N_TRAITS_PUBLISHED)
        self.p_irt = PIrt(one)
        self.traits: Traits = self.ours.traits
        self.stratified = Stratified.by_difficulty(responses)
        self.mp = MpIrt.fit(many, endpoints)
        self.mp_prior = MpIrt.fit(many, endpoints, responses)
        self.common: dict[str, Estimator] = {
            "mean": Mean(),
            "p-IRT": self.p_irt,
            "mp-IRT": self.mp,
            "gmp-IRT": Generalised(None, self.mp),
            "mp-IRT, prior": self.mp_prior,
            "gmp-IRT, prior": Generalised(None, self.mp_prior),
            "ridge": Ridge.fit(responses),
            "ours, random items": Adaptive(self.traits),
        }
        rng = np.random.default_rng(seed)
        self.anchors = {
            n: Anchors.fit(responses.T, n, rng) for n in SIZES if n < responses.shape[1]
        }

    def results(
        self, test: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[str, int, Estimates, float]]:
        """Every estimator at every size on one draw of the items, and our check after selection."""
        sizes = tuple(self.anchors)
        order = rng.permutation(test.shape[1])
        asked = ask(self.ours, test, sizes, order)
        for n in sizes:
            seen = mask_of(test, order[:n])
            for name, estimator in self.common.items():
                yield name, n, estimator.estimates(seen, test), np.nan
            greg = Difference(self.traits.predictions(seen, test))
            yield "GREG", n, greg.estimates(seen, test), np.nan
            strata = mask_of(test, self.stratified.choose(n, rng))
            yield "stratified", n, self.stratified.estimates(strata, test), np.nan
            anchors = self.anchors[n]
            seen = mask_of(test, anchors.items)
            yield "anchors", n, anchors.estimates(seen, test), np.nan
            gp_irt = Generalised.gp_irt(anchors, self.p_irt, self.responses)
            yield "gp-IRT", n, gp_irt.estimates(seen, test), np.nan
            estimates = self.ours.estimates(asked[n], test)
            check = after_selection(self.traits, asked[n], test, estimates.mean, rng)
            yield "ours", n, estimates, check


def mask_of(answers: np.ndarray, places: np.ndarray) -> np.ndarray:
    mask = np.zeros(answers.shape, dtype=bool)
    mask[:, places] = True
    return mask


def summary(cell: np.ndarray, mean: np.ndarray) -> dict[str, object]:
    """Averages over seeds, and the error beside the plain mean's."""
    with np.errstate(all="ignore"):
        averages = dict(zip(COLUMNS, cell[:, 1:].mean(axis=0).tolist(), strict=True))
    return averages | {"ratio": averages["mae"] / mean[:, 1].mean()}


def plain(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The rows as JSON has them: what an estimator does not have is null."""
    return [{key: None if value != value else value for key, value in r.items()} for r in rows]


def pooled(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The same rows averaged over tasks; the ratio is that of the averages."""
    keys = dict.fromkeys((row["calibration"], row["estimator"], row["items"]) for row in rows)
    out = []
    for calibration, name, n in keys:
        here = [r for r in rows if (r["calibration"], r["items"]) == (calibration, n)]
        mine = [r for r in here if r["estimator"] == name]
        plain = np.mean([r["mae"] for r in here if r["estimator"] == "mean"])
        averages = {column: float(np.mean([r[column] for r in mine])) for column in COLUMNS}
        averages |= {"ratio": averages["mae"] / plain}
        out.append(
            {"task": "all", "calibration": calibration, "estimator": name, "items": n} | averages
        )
    return out


if __name__ == "__main__":
    main()
