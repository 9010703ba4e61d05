"""Which way each objective is better, what is held to a bound, and how both are written."""

import math
from collections.abc import Set

from evomerge.records import Bound, Comparison, Estimate, Measure
from evomerge.tracking.numbers import number_text

_ACCURACY = Measure(is_share=True)
UP, DOWN = "↑", "↓"
MET, MISSED = "✓", "✗"


def measure_of(comparison: Comparison, name: str) -> Measure:
    """How an objective, or what is held to a bound, adds up."""
    return comparison.measures.get(name, _ACCURACY)


def minimised(comparison: Comparison) -> frozenset[str]:
    """The objectives of which smaller is better."""
    names = comparison.objectives
    return frozenset(name for name in names if not measure_of(comparison, name).higher_is_better)


def has_mean(comparison: Comparison) -> bool:
    """Whether a mean over the objectives says something: all are shares, the larger the better."""
    measures = [measure_of(comparison, name) for name in comparison.objectives]
    return all(measure.is_share and measure.higher_is_better for measure in measures)


def arrow(name: str, smaller_is_better: Set[str]) -> str:
    """`name ↓` or `name ↑`; the name alone where larger is better throughout."""
    if not smaller_is_better:
        return name
    return f"{name} {DOWN if name in smaller_is_better else UP}"


def heading(comparison: Comparison, name: str) -> str:
    """What a column or an axis is called: with its direction where they differ, or its bound."""
    bound = comparison.bounds.get(name)
    return f"{name} {bound_text(bound)}" if bound else arrow(name, minimised(comparison))


def bound_text(bound: Bound) -> str:
    """`>= 0.98 * base (0.451)`, the limit where it is known and not what is written already."""
    if "*" not in bound.text or not math.isfinite(bound.limit):
        return bound.text
    limit = f"{bound.limit:.4g}" if abs(bound.limit) < 1000 else number_text(bound.limit)
    return f"{bound.text} ({limit})"


def legend(comparison: Comparison) -> str:
    """In words: which way is better, without a full stop."""
    smaller = minimised(comparison)
    if not smaller:
        return "larger is better"
    if smaller == set(comparison.objectives):
        return f"{DOWN} smaller is better"
    return f"{UP} larger is better, {DOWN} smaller is better"


def feasibility(comparison: Comparison) -> str:
    """In words: what the bounds are and whether the front meets them; empty without bounds."""
    if not comparison.bounds:
        return ""
    bounds = ", ".join(f"{name} {bound_text(own)}" for name, own in comparison.bounds.items())
    if comparison.is_feasible:
        return f"Every merge on the front meets the bounds: {bounds}."
    return (
        f"No merge meets every bound ({bounds}): what is shown as the front are those that miss "
        "them by the least."
    )


def mark(bound: Bound, estimate: Estimate) -> str:
    """Whether a value meets its bound; empty where one of them is not known."""
    if not (math.isfinite(bound.limit) and math.isfinite(estimate.mean)):
        return ""
    return MISSED if bound.shortfall(estimate.mean) > 0.0 else MET
