"""Weight rules: the coefficients of a `linear` merge from numbers that are known beforehand.

A rule gives one weight a model, none negative, summing to 1: `GroupRecipe("linear",
{"coefficient": weights})` merges with them. None of them reads a tensor.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evomerge.errors import UsageError

Weights = tuple[float, ...]


@dataclass(frozen=True)
class WeightRule:
    """A rule as it is listed.

    Args:
        name: its name.
        call: how it is called, for a human.
        summary: one line for a human.
        reference: where it was published.
        weights: the function itself.
    """

    name: str
    call: str
    summary: str
    reference: str
    weights: Callable[..., Weights]


def metric_weights(metrics: Sequence[float], *, power: float = 1.0) -> Weights:
    """Metrics-weighted averaging: wᵢ = mᵢ^β / Σⱼ mⱼ^β.

    Choi and Yu (2025), https://arxiv.org/abs/2504.18580, weigh checkpoints by their loss or step
    with a penalty; this form of it is ours. Of losses, where less is better, take a negative β.

    Args:
        metrics: `(n_models,)` mᵢ, an accuracy or a loss of each, positive.
        power: β; 0 gives equal weights, and the best model alone is the limit of large ones.

    Raises:
        UsageError: no metrics, or one that is not positive and finite.
    """
    _check_numbers("metrics", metrics)
    if min(metrics) <= 0.0:
        raise UsageError(
            f"metrics are {tuple(metrics)}, expected positive numbers: leave a model of metric 0 "
            "out of the merge, or give losses with a negative power"
        )
    return _softmax([power * math.log(metric) for metric in metrics])


def cocktail_weights(losses: Sequence[float], *, temperature: float = 5.0) -> Weights:
    """LM-Cocktail: wᵢ = softmax(−lossᵢ / T), from losses on a few labelled examples.

    Xiao et al. (2023), https://arxiv.org/abs/2311.13534; T = 5 in the authors' code.

    Args:
        losses: `(n_models,)` the loss of each.
        temperature: T, in units of the loss; small ones pick the best model alone.

    Raises:
        UsageError: no losses, one that is not finite, or a temperature that is not positive.
    """
    _check_numbers("losses", losses)
    if not (math.isfinite(temperature) and temperature > 0.0):
        raise UsageError(
            f"temperature is {temperature}, expected a positive number, such as the authors' 5"
        )
    return _softmax([-loss / temperature for loss in losses])


def simple_moving_average(n: int) -> Weights:
    """The last `n` checkpoints with equal weights (SMA): wᵢ = 1 / n.

    Li et al. (2025), https://arxiv.org/abs/2505.12082, found it no worse than the other two.

    Raises:
        UsageError: n is not positive.
    """
    _check_count(n)
    return (1.0 / n,) * n


def weighted_moving_average(n: int) -> Weights:
    """The last `n` checkpoints, later ones more (WMA): wᵢ = i / Σⱼ j, i from 1 for the oldest.

    Raises:
        UsageError: n is not positive.
    """
    _check_count(n)
    return tuple(2.0 * i / (n * (n + 1)) for i in range(1, n + 1))


def exponential_moving_average(n: int, *, alpha: float = 0.2) -> Weights:
    """The last `n` checkpoints by mᵢ = α θᵢ + (1 − α) mᵢ₋₁ from m₁ = θ₁, the oldest (EMA).

    So wᵢ = α (1 − α)ⁿ⁻ⁱ, and w₁ = (1 − α)ⁿ⁻¹.

    Args:
        n: the number of checkpoints.
        alpha: α, the part of the newest, from 0 (the oldest alone) to 1 (the newest alone).

    Raises:
        UsageError: n is not positive, or alpha no fraction.
    """
    _check_count(n)
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"alpha is {alpha}, expected a fraction between 0 and 1, such as 0.2")
    later = (alpha * (1.0 - alpha) ** (n - i) for i in range(2, n + 1))
    return ((1.0 - alpha) ** (n - 1), *later)


def _softmax(numbers: Sequence[float]) -> Weights:
    most = max(numbers)
    powers = [math.exp(number - most) for number in numbers]
    whole = math.fsum(powers)
    return tuple(power / whole for power in powers)


def _check_numbers(what: str, numbers: Sequence[float]) -> None:
    if not numbers or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"{what} are {tuple(numbers)}, expected one finite number for each model to merge; "
            "leave models out that could not be evaluated"
        )


def _check_count(n: int) -> None:
    if n < 1:
        raise UsageError(f"the average is of {n} checkpoints, expected 1 or more")


RULES: dict[str, WeightRule] = {
    rule.name: rule
    for rule in (
        WeightRule(
            "metrics",
            "metric_weights(metrics, power=1.0)",
            "Average the models by a power of their metrics (MWA).",
            "https://arxiv.org/abs/2504.18580",
            metric_weights,
        ),
        WeightRule(
            "cocktail",
            "cocktail_weights(losses, temperature=5.0)",
            "Average the models by the softmax of their losses on a few examples (LM-Cocktail).",
            "https://arxiv.org/abs/2311.13534",
            cocktail_weights,
        ),
        WeightRule(
            "sma",
            "simple_moving_average(n)",
            "Average the last n checkpoints of a training equally.",
            "https://arxiv.org/abs/2505.12082",
            simple_moving_average,
        ),
        WeightRule(
            "wma",
            "weighted_moving_average(n)",
            "Average the last n checkpoints with weights that grow linearly.",
            "https://arxiv.org/abs/2505.12082",
            weighted_moving_average,
        ),
        WeightRule(
            "ema",
            "exponential_moving_average(n, alpha=0.2)",
            "Average the last n checkpoints with weights that grow exponentially.",
            "https://arxiv.org/abs/2505.12082",
            exponential_moving_average,
        ),
    )
}
"""The rules by name, as `evomerge methods` lists them."""
