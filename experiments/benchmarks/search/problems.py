"""Synthetic problems with the shape of a merge search: cheap, maximised, scores in [0, 1]."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """`score` maps a genome `(n_dims,)` to objectives `(n_objectives,)`, larger is better."""

    name: str
    n_dims: int
    n_objectives: int
    score: Callable[[FloatArray], FloatArray]


def layered(n_experts: int, n_layers: int, conflict: float) -> Problem:
    """Each expert's skill lives in its own layers, and other experts disturb it there.

    Skill e = exp(−6 Σₗ wₑₗ ((gₑₗ − tₑₗ)² + conflict Σ_f≠e g_fₗ²)) with Σₗ wₑₗ = 1: concave near
    its optimum, as the accuracy of layer-wise task arithmetic is in its coefficients.
    """
    rng = np.random.default_rng(7)
    importance = rng.dirichlet(np.full(n_layers, 0.7), size=n_experts)
    target = rng.uniform(0.3, 0.9, size=(n_experts, n_layers))

    def score(genome: FloatArray) -> FloatArray:
        genes = genome.reshape(n_layers, n_experts).T  # (n_experts, n_layers)
        others = (genes**2).sum(axis=0) - genes**2
        loss = (importance * ((genes - target) ** 2 + conflict * others)).sum(axis=1)
        return np.exp(-6.0 * loss)

    return Problem(f"layered-{n_experts}", n_experts * n_layers, n_experts, score)


def zdt1(n_dims: int) -> Problem:
    """ZDT1 (Zitzler, Deb and Thiele, 2000) turned to be maximised: 1 − f₁ and 1 − f₂ / 10."""

    def score(genome: FloatArray) -> FloatArray:
        first = genome[0]
        g = 1.0 + 9.0 * genome[1:].mean()
        return np.array([1.0 - first, 1.0 - g * (1.0 - np.sqrt(first / g)) / 10.0])

    return Problem("zdt1", n_dims, 2, score)


def counted(problem: Problem, n_items: int) -> Problem:
    """The problem seen through a benchmark of `n_items`: scores rounded to multiples of 1/n."""
    return Problem(
        f"{problem.name}-counted",
        problem.n_dims,
        problem.n_objectives,
        lambda genome: np.round(problem.score(genome) * n_items) / n_items,
    )


PROBLEMS = (
    layered(2, 9, conflict=0.3),
    layered(3, 6, conflict=0.3),
    counted(layered(3, 6, conflict=0.3), 120),
    zdt1(18),
)
