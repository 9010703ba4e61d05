"""Ability of a model from some items, and from it the score it would have on all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.errors import ScoringError
from evomerge.irt.bank import ItemBank
from evomerge.irt.curves import FloatArray
from evomerge.records import Estimate, TaskScores


@dataclass(frozen=True, eq=False)
class Ability:
    """What some answers say about a model's ability θ.

    `mean` and `sd` of the posterior, in units of the bank's ability scale; `weights`: `(n_nodes,)`
    the posterior itself on the bank's grid, summing to 1.
    """

    mean: float
    sd: float
    weights: FloatArray


def ability(bank: ItemBank, items: Sequence[int], values: Sequence[float]) -> Ability:
    """The posterior of the ability given answers to some items (EAP: its mean).

    w(θ) ∝ prior(θ) Πⱼ Pⱼ(θ)^yⱼ (1 − Pⱼ(θ))^(1−yⱼ); Bock and Mislevy (1982),
    https://doi.org/10.1177/014662168200600405. All right, all wrong and no answers at all have a
    finite mean, since the prior holds it.

    Args:
        items: `(n,)` document ids, in any order.
        values: `(n,)` 1 for right, 0 for wrong.

    Raises:
        ScoringError: an item is not in the bank or comes twice, or a value is not 0 or 1.
    """
    return _posterior(bank, *_answers(bank, items, values))


def p_irt(bank: ItemBank, scores: TaskScores) -> Estimate:
    """The mean over all J items of the bank, of which n were seen.

        Z = λ mean_seen(y) + (1 − λ) mean_unseen(E[Pⱼ(θ)]),  λ = n / J
        Var(Z) = (E[Σ_unseen Pⱼ (1 − Pⱼ)] + Var[Σ_unseen Pⱼ]) / J²

    This is p-IRT of Polo et al. (2024), https://arxiv.org/abs/2402.14992, except that P is averaged
    over the posterior of θ, where they put a point estimate of θ into P: so the estimate is the
    mean of the very distribution whose spread is reported. The variance adds the chance in the
    unseen answers to the doubt about θ; it takes the bank for granted.

    Returns:
        `n` is the number of items seen; with every item seen, their exact mean and `se` 0.

    Raises:
        ScoringError: see `ability`.
    """
    seen, right = _answers(bank, scores.items, scores.values)
    weights = _posterior(bank, seen, right).weights
    unseen = 1.0 - seen
    curves = bank.curves
    expected = curves.right @ unseen  # (n_nodes,) Σ_unseen P
    chance = (curves.right * (1.0 - curves.right)) @ unseen  # (n_nodes,) Σ_unseen P (1 − P)
    total = float(weights @ expected)
    variance = float(weights @ (chance + (expected - total) ** 2))
    n_items = len(bank.items)
    mean = (right.sum() + total) / n_items
    # The weights sum to 1 but for rounding.
    return Estimate(min(float(mean), 1.0), math.sqrt(variance) / n_items, len(scores.items))


def _answers(
    bank: ItemBank, items: Sequence[int], values: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Which items were seen and which were right, each `(J,)` of zeros and ones."""
    places = bank.places(items)
    answers = np.array(values, dtype=np.float64)
    if answers.shape != places.shape or not np.isin(answers, (0.0, 1.0)).all():
        raise ScoringError(
            f"task {bank.task} has values {sorted(set(values))} for {len(items)} items, expected "
            "0 or 1 for each; an item bank needs a metric that is right or wrong, such as acc or "
            "exact_match"
        )
    seen, right = np.zeros(len(bank.items)), np.zeros(len(bank.items))
    seen[places] = 1.0
    right[places] = answers
    return seen, right


def _posterior(bank: ItemBank, seen: FloatArray, right: FloatArray) -> Ability:
    curves = bank.curves
    # log P = log(1 − P) + a θ + d, so all that the right answers add is θ Σ a y, and a constant.
    log_weights = (
        curves.log_prior + curves.log_wrong @ seen + curves.nodes * (right @ bank.discrimination)
    )
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = float(weights @ curves.nodes)
    sd = math.sqrt(float(weights @ (curves.nodes - mean) ** 2))
    return Ability(mean, sd, weights)
