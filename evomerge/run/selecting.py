"""After the search: who is scored again on fresh items, and who is on the front by then.

The scores that chose a candidate flatter it: it is the best of many partly by luck. So the front
of the search, and those that might belong to it, are scored on items that the search never asked.
What both say together chooses the final front, weighted by their numbers of items; the fresh scores
alone are fewer, and others would be lucky by them. They are what is reported beside the search's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evomerge.irt.compare import front_probabilities
from evomerge.records import Bound, Estimate, Evaluation
from evomerge.run.estimates import violation
from evomerge.search.archive import front

MOST_SELECTED = 2
"""Candidates that are scored again, at most so many times those on the front of the search."""

LEAST_PROBABILITY = 0.05
"""Of belonging to the front, for a candidate that is not on it to be scored again."""


def worth_rescoring(evaluated: Sequence[Evaluation], seed: int) -> list[Evaluation]:
    """The front, then those likeliest to belong to it in truth; a function of its arguments.

    Who misses a bound is not among them, unless all do.

    Args:
        evaluated: every candidate of the search that was scored.
        seed: of the draws that find the probabilities (`irt.compare.front_probabilities`).
    """
    best = front(evaluated)
    if not best:
        return []
    n_most = MOST_SELECTED * len(best)
    near = _nearest_layers([o for o in evaluated if o.violation == best[0].violation], 2 * n_most)
    means = np.array([one.means for one in near])
    ses = np.array([[e.se for e in one.objectives.values()] for one in near])
    probabilities = front_probabilities(means, np.nan_to_num(ses), np.random.default_rng(seed))
    others = sorted(range(len(best), len(near)), key=lambda k: -probabilities[k])
    likely = [near[k] for k in others if probabilities[k] > LEAST_PROBABILITY]
    return [*best, *likely][:n_most]


def rescored(
    evaluation: Evaluation, fresh: Mapping[str, Estimate], bounds: Mapping[str, Bound]
) -> Evaluation:
    """What the search and the fresh items say of a candidate together."""
    constraints = pooled(evaluation.constraints, fresh)
    return replace(
        evaluation,
        objectives=pooled(evaluation.objectives, fresh),
        constraints=constraints,
        violation=violation(bounds, constraints),
    )


def pooled(search: Mapping[str, Estimate], fresh: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The objectives as both say; one that has no fresh items keeps the estimate of the search."""
    return {
        name: _mean(estimate, fresh[name]) if name in fresh else estimate
        for name, estimate in search.items()
    }


def _mean(one: Estimate, other: Estimate) -> Estimate:
    """The mean of two independent estimates, weighted by their numbers of items.

    An estimate that is not finite says nothing.
    """
    if not math.isfinite(other.mean):
        return one
    n = one.n + other.n
    mean = (one.n * one.mean + other.n * other.mean) / n
    return Estimate(mean, math.hypot(one.n * one.se, other.n * other.se) / n, n)


def _nearest_layers(evaluated: Sequence[Evaluation], n_least: int) -> list[Evaluation]:
    """The front, then the front of the rest and so on, until there are so many or nobody is left.

    Who is dominated many times over has next to no chance, and probabilities of thousands of
    candidates would take minutes.
    """
    near: list[Evaluation] = []
    rest = list(evaluated)
    while rest and len(near) < n_least:
        near += front(rest)
        taken = {one.candidate.id for one in near}
        rest = [one for one in rest if one.candidate.id not in taken]
    return near
