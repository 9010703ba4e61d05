"""What a number of items can tell: standard errors before the run, and differences that show.

A mean of n item results, each in [0, 1] with mean p, has at most the standard error of n coin
tosses, √(p (1 − p) / (n − 1)); ½ / √(n − 1) whatever p is.

Two candidates are scored on the same items, so that what matters is on how many they disagree. Let
δ be the mean squared difference of their item results; for right and wrong, the share of items on
which one is right and the other is not. A difference shows at the 5 % level from 1.96 √(δ / n) on;
were their items others, from 1.96 √2 · se on. Less than 6 / n never shows: so few disagreements,
all one way, are a coin that falls on the same side six times (sign test, 2 · 2⁻⁶ = .031). A true
difference of the given size shows in half of all cases, one of 1.43 times that in 80 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from evomerge.records import Estimate

Z = 1.96
"""The two-sided 5 % point of the normal distribution."""

FEWEST_DISAGREEMENTS = 6
"""The smallest number of items, all one way, that a two-sided sign test takes for a difference."""


@dataclass(frozen=True)
class Resolution:
    """What an objective's score over `n_items` of `n_documents` items can tell; None: not known.

    Args:
        worst_se: the standard error if half of all answers are right; None for other scores.
        se: that of the probed models, the smallest and the largest.
        of_task_se: the largest of them as an error about the mean over all documents of the task:
            zero where all are scored.
        unpaired: the difference of two candidates that would show if their items were others.
        paired: the difference that shows on the same items, at the probed merges' disagreement.
    """

    n_items: int
    n_documents: int
    worst_se: float | None
    se: tuple[float, float] | None
    of_task_se: float | None
    unpaired: float | None
    paired: float | None


def resolution(
    n_items: int, n_documents: int, means: Sequence[float], disagreement: float
) -> Resolution:
    """What `n_items` can tell, given what was observed.

    Args:
        n_items: at least two.
        n_documents: how many the task has, not below `n_items`.
        means: probable values of p, at least one.
        disagreement: δ of two candidates.
    """
    errors = [binomial_se(p, n_items) for p in means]
    return Resolution(
        n_items=n_items,
        n_documents=n_documents,
        worst_se=binomial_se(0.5, n_items),
        se=(min(errors), max(errors)),
        of_task_se=max(errors) * _left_out(n_items, n_documents),
        unpaired=Z * math.sqrt(2) * max(errors),
        paired=max(Z * math.sqrt(disagreement / n_items), FEWEST_DISAGREEMENTS / n_items),
    )


def resolution_of_scores(
    n_items: int, n_documents: int, scores: Sequence[Estimate], disagreement: float | None
) -> Resolution:
    """The same for scores that are no share of right answers.

    Their standard errors shrink with the root of the number of items.

    Args:
        n_items: at least one.
        n_documents: how many the benchmark has, not below `n_items`.
        scores: of the probed models, on the items that were probed.
        disagreement: δ of two candidates; None where the score is no mean.
    """
    errors = [own.se * math.sqrt(own.n / n_items) for own in scores if math.isfinite(own.se)]
    largest = max(errors, default=None)
    return Resolution(
        n_items=n_items,
        n_documents=n_documents,
        worst_se=None,
        se=(min(errors), max(errors)) if errors else None,
        of_task_se=None if largest is None else largest * _left_out(n_items, n_documents),
        unpaired=None if largest is None else Z * math.sqrt(2) * largest,
        paired=None if disagreement is None else Z * math.sqrt(disagreement / n_items),
    )


def _left_out(n_items: int, n_documents: int) -> float:
    """The error about all documents, as a part of the one about ever more of them."""
    return math.sqrt((n_documents - n_items) / max(n_documents - 1, 1))


def binomial_se(p: float, n: int) -> float:
    """√(p (1 − p) / (n − 1)): what `Estimate.of` gives for n answers, a share p of them right."""
    return math.sqrt(p * (1 - p) / max(n - 1, 1))


def probable_mean(values: Sequence[float]) -> float:
    """The mean of a few item results, half an item drawn towards the middle: never 0 or 1.

    (Σ + ½) / (k + 1), the mean of Jeffreys' posterior: a few right answers do not make p certain.
    """
    return (math.fsum(values) + 0.5) / (len(values) + 1)


def disagreement(models: Sequence[Sequence[float]]) -> float:
    """The mean squared difference of item results, over all pairs of at least two models."""
    pairs = combinations(models, 2)
    return fmean((a - b) ** 2 for one, other in pairs for a, b in zip(one, other, strict=True))
