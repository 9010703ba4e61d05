"""How the item results of a metric add up to its score, each with a standard error.

The scores are those of lm-eval's aggregations of the same names; lm-eval itself finds most standard
errors by bootstrap, which is random and slow. Here those of means, of ratios of sums and of their
exponentials come from the delta method (Cochran, Sampling Techniques, 1977, chapter 6), that of a
median from order statistics, since the jackknife fails there (Efron 1982), and the others from the
jackknife.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from evomerge.records import Estimate, Measure, TaskScores

Z = 1.96
"""The two-sided 5 % point of the normal distribution."""

Table = Counter[tuple[float, float]]
"""How many items have each pair of a right label and a prediction."""


def aggregate(scores: TaskScores, measure: Measure) -> Estimate:
    """The score that item results add up to by a measure, with its standard error.

    NaN or infinite where they add up to no number, as a ratio of sums does without weights; the
    standard error is NaN for a single item.
    """
    return AGGREGATIONS[measure.aggregation](scores)


def agreement(scores: TaskScores, others: Sequence[TaskScores]) -> Estimate:
    """The mean over items of the share of other models that gave the same answer.

    Label-free selection of AdaMMS (Du et al. 2025, https://arxiv.org/abs/2503.23733): where merges
    nearby answer alike, they answer well. Items that none of the others was asked count for none.
    """
    answers = [dict(zip(other.items, other.values, strict=True)) for other in others]
    shares = []
    for item, value in zip(scores.items, scores.values, strict=True):
        asked = [known[item] == value for known in answers if item in known]
        if asked:
            shares.append(sum(asked) / len(asked))
    return Estimate.of(shares) if shares else Estimate(math.nan, math.nan, 0)


def _mean(scores: TaskScores) -> Estimate:
    return Estimate.of(scores.values)


def _exact(scores: TaskScores) -> Estimate:
    """A fact about the model: one value whatever is asked, and nothing to be uncertain of."""
    return Estimate(scores.values[0], 0.0, len(scores.values))


def _weighted_mean(scores: TaskScores) -> Estimate:
    """R = Σ v / Σ w, with se² = n / (n − 1) · Σ (v − R w)² / (Σ w)²."""
    n, total = len(scores.values), math.fsum(scores.weights)
    if total == 0.0:
        return Estimate(math.nan, math.nan, n)
    ratio = math.fsum(scores.values) / total
    if n < 2:
        return Estimate(ratio, math.nan, n)
    pairs = zip(scores.values, scores.weights, strict=True)
    squares = math.fsum((value - ratio * weight) ** 2 for value, weight in pairs)
    return Estimate(ratio, math.sqrt(n / (n - 1) * squares) / abs(total), n)


def _perplexity(scores: TaskScores) -> Estimate:
    return _exp_of_negative(_mean(scores))


def _weighted_perplexity(scores: TaskScores) -> Estimate:
    return _exp_of_negative(_weighted_mean(scores))


def _bits_per_byte(scores: TaskScores) -> Estimate:
    rate = _weighted_mean(scores)
    return Estimate(-rate.mean / math.log(2), rate.se / math.log(2), rate.n)


def _exp_of_negative(rate: Estimate) -> Estimate:
    """exp(−r), with standard error exp(−r) · se."""
    try:
        perplexity = math.exp(-rate.mean)
    except OverflowError:
        return Estimate(math.inf, math.nan, rate.n)
    return Estimate(perplexity, perplexity * rate.se, rate.n)


def _median(scores: TaskScores) -> Estimate:
    """The upper median, with a standard error from two order statistics.

    Half the width of its 95 % interval over 1.96: McKean and Schrader (1984),
    https://doi.org/10.1080/03610918408812413.
    """
    ordered = sorted(scores.values)
    n = len(ordered)
    if n < 2:
        return Estimate(ordered[0], math.nan, n)
    rank = max(round((n + 1) / 2 - Z * math.sqrt(n / 4)), 1)  # of the lower end, counted from 1
    return Estimate(ordered[n // 2], (ordered[n - rank] - ordered[rank - 1]) / (2 * Z), n)


def _f1(scores: TaskScores) -> Estimate:
    return _of_table(scores, _f1_of)


def _matthews(scores: TaskScores) -> Estimate:
    return _of_table(scores, _matthews_of)


def _of_table(scores: TaskScores, score: Callable[[Table], float]) -> Estimate:
    """A score of the labels' contingency table, and the jackknife's standard error.

    se² = (n − 1) / n · Σᵢ (s₍ᵢ₎ − s̄)², s₍ᵢ₎ without item i: the same for items of one cell.
    """
    table: Table = Counter(zip(scores.values, scores.weights, strict=True))
    n, whole = table.total(), score(table)
    if n < 2:
        return Estimate(whole, math.nan, n)
    without = {pair: score(table - Counter([pair])) for pair in table}
    mean = math.fsum(table[pair] * left for pair, left in without.items()) / n
    squares = math.fsum(table[pair] * (left - mean) ** 2 for pair, left in without.items())
    return Estimate(whole, math.sqrt((n - 1) / n * squares), n)


def _f1_of(table: Table) -> float:
    """2 TP / (2 TP + FP + FN) of label 1; 0 where nothing is or is said to be of it."""
    right = table[(1.0, 1.0)]
    wrong = sum(n for pair, n in table.items() if 1.0 in pair) - right
    return 2 * right / (2 * right + wrong) if right + wrong else 0.0


def _matthews_of(table: Table) -> float:
    """Matthews' correlation of any number of labels; 0 where all labels of a side are one.

    (c n − Σ pₖ tₖ) / √((n² − Σ pₖ²) (n² − Σ tₖ²)) with c right, pₖ said and tₖ true to be label k:
    Gorodkin (2004), https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    true: Counter[float] = Counter()
    said: Counter[float] = Counter()
    for (gold, prediction), n in table.items():
        true[gold] += n
        said[prediction] += n
    total = table.total()
    right = sum(n for (gold, prediction), n in table.items() if gold == prediction)
    above = right * total - sum(said[label] * true[label] for label in said)
    below = (total**2 - _squares(said)) * (total**2 - _squares(true))
    return above / math.sqrt(below) if below else 0.0


def _squares(counts: Mapping[float, int]) -> int:
    return sum(n**2 for n in counts.values())


AGGREGATIONS: Mapping[str, Callable[[TaskScores], Estimate]] = {
    "mean": _mean,
    "exact": _exact,
    "weighted_mean": _weighted_mean,
    "perplexity": _perplexity,
    "weighted_perplexity": _weighted_perplexity,
    "bits_per_byte": _bits_per_byte,
    "median": _median,
    "f1": _f1,
    "matthews_corrcoef": _matthews,
}
"""By lm-eval's names; `exact` is ours."""
