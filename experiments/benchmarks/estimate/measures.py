"""What a table says about estimates whose truth is known."""

from dataclasses import dataclass

import numpy as np

from evomerge.irt.estimator import Estimates

COLUMNS = (
    "mae",
    "rmse",
    "spearman",
    "ordered",
    "coverage",
    "regret",
    "optimism",
    "after_selection",
)
NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Result:
    """How one estimator did on one draw of `n` items; `values` are the `COLUMNS`."""

    task: str
    n_models: int
    split: int
    estimator: str
    n: int
    values: tuple[float, ...]


def measures(estimates: Estimates, truth: np.ndarray) -> list[float]:
    """All columns but the last.

    `ordered`: share of pairs whose scores are 1 to 5 points apart that are in the right order, ties
    count half. `regret`: by how much the best is better than the one picked; `optimism`: by how
    much the picked one's estimate is above its score.
    """
    error = estimates.mean - truth
    picked = int(estimates.mean.argmax())
    coverage = np.nan
    if not np.isnan(estimates.se).any():
        coverage = float((np.abs(error) <= NORMAL_95 * estimates.se + 1e-12).mean())
    return [
        float(np.abs(error).mean()),
        float(np.sqrt((error**2).mean())),
        _spearman(estimates.mean, truth),
        _ordered(estimates.mean, truth),
        coverage,
        float(truth.max() - truth[picked]),
        float(error[picked]),
    ]


def _ordered(found: np.ndarray, truth: np.ndarray) -> float:
    apart = truth[:, None] - truth
    rows, columns = np.nonzero((apart > 0.01 - 1e-9) & (apart < 0.05 + 1e-9))
    if not len(rows):
        return np.nan
    gap = found[rows] - found[columns]
    return float((gap > 1e-12).mean() + 0.5 * (np.abs(gap) <= 1e-12).mean())


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    ranks = np.array([_ranks(one), _ranks(other)])
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]
