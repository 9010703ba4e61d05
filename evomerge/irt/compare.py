"""Choosing between candidates whose scores are uncertain: pure functions over what is known.

Everything here maximises. Errors of different objectives are taken as independent: the items of one
task say nothing about those of another.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from evomerge.errors import ScoringError
from evomerge.irt.estimator import BoolArray, FloatArray
from evomerge.records import Estimate, TaskScores

N_LEADERS = 64
"""Points that all others are compared with first when a front is sought."""


def paired_difference(one: TaskScores, other: TaskScores, n_items: int) -> Estimate:
    """By how much one candidate's mean exceeds the other's, from the items that both answered.

    d̄ ± √(s²(d) / n · (1 − n / J)): what both find hard or easy cancels. Half an answer is added to
    Σ (d − d̄)², so that candidates that agree on all common items are not called equal for certain.

    Args:
        n_items: J, how many items the task has.

    Raises:
        ScoringError: they have no item in common.
    """
    answers = dict(zip(other.items, other.values, strict=True))
    differences = np.array(
        [
            value - answers[item]
            for item, value in zip(one.items, one.values, strict=True)
            if item in answers
        ]
    )
    n = len(differences)
    if n == 0:
        raise ScoringError(
            f"two candidates were scored on {len(one.items)} and {len(other.items)} items, none of "
            "them common to both; give every candidate of a generation the same common items"
        )
    mean = float(differences.mean())
    squares = float(((differences - mean) ** 2).sum()) + 0.5
    finite = max(1.0 - n / n_items, 0.0)
    return Estimate(mean, math.sqrt(squares / max(n - 1, 1) / n * finite), n)


def p_greater(difference: Estimate) -> float:
    """The probability that a difference is positive, Φ(mean / se); ½ for an exact tie.

    A standard error that is missing says nothing: ½.
    """
    if math.isnan(difference.se):
        return 0.5
    if difference.se == 0.0:
        return 0.5 if difference.mean == 0.0 else float(difference.mean > 0.0)
    return NormalDist().cdf(difference.mean / difference.se)


def p_dominates(differences: Mapping[str, Estimate]) -> float:
    """The probability that one candidate is better than another in every objective.

    Π_k P(d_k > 0), from the difference in each objective. With finite items a tie has probability
    zero in this approximation, so "no worse in any" and "better in all" are one.
    """
    return math.prod(p_greater(difference) for difference in differences.values())


def front_probabilities(
    means: FloatArray, ses: FloatArray, rng: np.random.Generator, *, n_draws: int = 400
) -> FloatArray:
    """How likely each candidate is to be on the front, `(n_candidates,)`.

    The share of draws from N(mean, se²) in which no other candidate dominates it.

    Args:
        means: `(n_candidates, n_objectives)`.
        ses: the same shape; zero where a score is exact.

    Raises:
        ScoringError: a mean or a standard error is not finite, or the shapes differ.
    """
    if means.shape != ses.shape or means.ndim != 2:
        raise ScoringError(
            f"means of shape {means.shape} with standard errors of shape {ses.shape}, expected "
            "both (n_candidates, n_objectives)"
        )
    if not (np.isfinite(means).all() and np.isfinite(ses).all()):
        row = int(np.argwhere(~(np.isfinite(means) & np.isfinite(ses)))[0, 0])
        raise ScoringError(
            f"candidate {row} has a score or standard error that is not finite; leave out "
            "candidates that failed, and score at least two items of each task"
        )
    on_front = np.zeros(len(means))
    for _ in range(n_draws):
        on_front += _on_front(means + ses * rng.normal(size=means.shape))
    return on_front / n_draws


def _on_front(points: FloatArray) -> BoolArray:
    """Which points no other dominates, `(n,)`.

    Most are dominated by some of the points with the largest sums already; what one of these
    dominates is dominated by them too, so that only the rest must be compared among themselves.
    """
    leaders = points[np.argsort(-points.sum(axis=1))[:N_LEADERS]]
    left = np.flatnonzero(~_dominated(points, leaders))
    on_front = np.zeros(len(points), dtype=bool)
    on_front[left] = ~_dominated(points[left], points[left])
    return on_front


def _dominated(points: FloatArray, others: FloatArray) -> BoolArray:
    """Which points one of the others dominates, `(n,)`."""
    no_worse = np.ones((len(others), len(points)), dtype=bool)
    better = np.zeros((len(others), len(points)), dtype=bool)
    for mine, theirs in zip(points.T, others.T, strict=True):
        no_worse &= theirs[:, None] >= mine
        better |= theirs[:, None] > mine
    return np.asarray((no_worse & better).any(axis=0))


def undecided(probabilities: FloatArray, *, low: float = 0.05, high: float = 0.95) -> BoolArray:
    """The candidates worth more items, `(n_candidates,)`: neither surely on the front nor off."""
    return np.asarray((probabilities > low) & (probabilities < high))
