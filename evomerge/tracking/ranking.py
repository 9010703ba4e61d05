"""Who of a comparison is best: on the whole, and by each objective."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from evomerge.records import Comparison, Estimate, Member, Phase
from evomerge.tracking.directions import has_mean, minimised

BEST = "★"
STARRED = "best before the test"
"""What the star stands for in pictures."""
UNKNOWN = Estimate(math.nan, math.nan, 0)
PHASES: tuple[Phase, ...] = get_args(Phase)

Scale = Mapping[str, tuple[float, float]]
"""The worst and the best mean of each objective."""


def scores(member: Member, phase: Phase) -> Mapping[str, Estimate]:
    """The member's estimates on the items of a phase, of what is held to a bound too."""
    if phase == "search":
        return {**member.objectives, **member.constraints}
    return member.selection if phase == "selection" else member.test


def before_test(member: Member, name: str) -> Estimate:
    """What is known of a member without the test items, which choose nothing."""
    return member.pooled.get(name, scores(member, "search").get(name, UNKNOWN))


def phases_of(comparison: Comparison) -> tuple[Phase, ...]:
    """The phases that anybody has scores of, in their order; the last ones flatter least."""
    members = [*comparison.members()]
    later = [p for p in PHASES[1:] if any(scores(member, p) for member in members)]
    return (PHASES[0], *later)


def ranked(comparison: Comparison) -> list[tuple[str, Member]]:
    """Front members by their ids, the best on the whole before the test first."""
    pairs = [(member.id, member) for member in comparison.front]
    return _best_first(comparison, pairs)


def ranked_baselines(comparison: Comparison) -> list[tuple[str, Member]]:
    """Baselines by their names, the best on the whole before the test first."""
    return _best_first(comparison, [*comparison.baselines.items()])


def best_hint(comparison: Comparison) -> str:
    """A sentence about the star."""
    if has_mean(comparison):
        return f"{BEST} has the best mean before the test."
    return (
        f"{BEST} has the best balance before the test: the mean over the objectives of its place "
        "between the worst (0) and the best (1) of front and baselines."
    )


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of k means, with √(Σ se²) / k: the objectives' items are independent samples."""
    k = len(estimates)
    if k == 0:
        return UNKNOWN
    mean = math.fsum(estimate.mean for estimate in estimates) / k
    error = math.sqrt(math.fsum(estimate.se**2 for estimate in estimates)) / k
    return Estimate(mean, error, sum(estimate.n for estimate in estimates))


def best_means(comparison: Comparison, phase: Phase) -> dict[str, float]:
    """The best mean that a member of the front has of each objective in a phase."""
    return {name: best for name, (_, best) in _scale(comparison, comparison.front, phase).items()}


def scale(comparison: Comparison, phase: Phase) -> Scale:
    """The worst and the best mean of each objective among front and baselines."""
    return _scale(comparison, [*comparison.members()], phase)


def place(mean: float, ends: tuple[float, float]) -> float:
    """Where a mean lies from the worst, 0, to the best, 1; ½ where both are the same."""
    worst, best = ends
    return (mean - worst) / (best - worst) if best != worst else 0.5


def _scale(comparison: Comparison, members: Sequence[Member], phase: Phase) -> Scale:
    smaller = minimised(comparison)
    ends = {}
    for name in comparison.objectives:
        means = [scores(member, phase).get(name, UNKNOWN).mean for member in members]
        known = sorted((mean for mean in means if math.isfinite(mean)), reverse=name in smaller)
        if known:
            ends[name] = known[0], known[-1]
    return ends


def _best_first(
    comparison: Comparison, pairs: Sequence[tuple[str, Member]]
) -> list[tuple[str, Member]]:
    worth = _worth(comparison)

    def worst_last(pair: tuple[str, Member]) -> tuple[bool, float]:
        own = worth(pair[1])
        return math.isnan(own), -own

    return sorted(pairs, key=worst_last)


def _worth(comparison: Comparison) -> Callable[[Member], float]:
    """What members are ranked by: their mean, or that of their places where scales differ."""
    ends = {} if has_mean(comparison) else scale(comparison, "search")

    def worth(member: Member) -> float:
        means = {name: before_test(member, name).mean for name in comparison.objectives}
        places = [place(mean, ends[name]) if name in ends else mean for name, mean in means.items()]
        return math.fsum(places) / len(places)

    return worth
