"""The table of the comparison: averages over seeds, and how sure differences are."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from experiments.benchmarks.estimate.estimators import OURS
from experiments.benchmarks.estimate.measures import COLUMNS, Result

Row = dict[str, object]
Cell = tuple[str, int, int]
"""Task, number of calibration models, number of items."""


def summarise(results: Sequence[Result], *, pooled: bool = False) -> list[Row]:
    """A row for each estimator in each cell, with all tasks as one when `pooled`.

    Beside the columns: `ratio`, the error over that of the mean of common random items; `above` and
    `above_se`, by how much the error exceeds ours, and the paired standard error of that over the
    splits of the models (draws of the items within a split share its fit).
    """
    cells: dict[Cell, dict[str, list[Result]]] = {}
    for result in results:
        cell = ("all" if pooled else result.task, result.n_models, result.n)
        cells.setdefault(cell, {}).setdefault(result.estimator, []).append(result)
    return [row for cell, found in cells.items() for row in _rows(cell, found)]


def _rows(cell: Cell, found: Mapping[str, list[Result]]) -> list[Row]:
    task, n_models, n = cell
    errors = {name: _by_split(results) for name, results in found.items()}
    rows = []
    for name, results in found.items():
        averages = np.array([result.values for result in results]).mean(axis=0).tolist()
        above = errors[name] - errors[OURS]
        row: Row = {"task": task, "calibration": n_models, "items": n, "estimator": name}
        row |= dict(zip(COLUMNS, averages, strict=True))
        row |= {"ratio": float(errors[name].mean() / errors["mean"].mean())}
        row |= {"above": float(above.mean()), "above_se": _standard_error(above)}
        rows.append(row)
    return rows


def _by_split(results: Iterable[Result]) -> np.ndarray:
    """The mean absolute error of each split, in the same order for every estimator."""
    splits: dict[int, list[float]] = {}
    for result in results:
        splits.setdefault(result.split, []).append(result.values[0])
    return np.array([np.mean(splits[split]) for split in sorted(splits)])


def _standard_error(differences: np.ndarray) -> float:
    if len(differences) < 2:
        return float("nan")
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def wins(rows: Sequence[Row]) -> list[Row]:
    """For each number of calibration models, in how many cells ours has the least error.

    `within` counts also those where it is within one paired standard error of the best.
    """
    found: dict[int, Row] = {}
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault((row["task"], row["calibration"], row["items"]), []).append(row)
    for (_, n_models, _), members in cells.items():
        best = min(members, key=lambda row: row["mae"])
        count = found.setdefault(
            n_models, {"calibration": n_models, "cells": 0, "best": 0, "within": 0}
        )
        count["cells"] += 1
        count["best"] += int(best["estimator"] == OURS)
        count["within"] += int(best["above"] >= -np.nan_to_num(best["above_se"]))
    return list(found.values())


def plain(rows: Sequence[Row]) -> list[Row]:
    """The rows as JSON has them: what an estimator does not have is null."""
    return [{key: None if value != value else value for key, value in r.items()} for r in rows]


def print_table(rows: Sequence[Row]) -> None:
    """Rows under a heading for each task, number of calibration models and number of items."""
    heading = None
    for row in sorted(rows, key=lambda row: (row["task"], -row["calibration"], row["items"])):
        found = (row["task"], row["calibration"], row["items"])
        if found != heading:
            heading = found
            print(f"\n{found[0]}, {found[1]} calibration models, {found[2]} items")
            names = ("ratio", "above", "± se", *COLUMNS)
            print(f"{'':<20}" + "".join(f"{name[:9]:>10}" for name in names))
        values = [row[key] for key in ("ratio", "above", "above_se", *COLUMNS)]
        print(f"{row['estimator']:<20}" + "".join(f"{x:>10.4f}" for x in values), flush=True)


def print_wins(rows: Sequence[Row]) -> None:
    """In how many cells ours is the best."""
    print()
    for row in rows:
        print(
            f"{row['calibration']} calibration models: {OURS} is the best in {row['best']} of "
            f"{row['cells']} cells, best or within a paired standard error in {row['within']}"
        )
