"""Spectral merges of truncated matrices: STAR, CART.

The singular values are all kept, so that how many of them a candidate takes needs nothing anew.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.decompose import svd
from evomerge.merge.stages.kinds import Stack
from evomerge.merge.stages.weigh import weighted
from evomerge.merge.store import Factors


def singular_triplets(matrices: Sequence[Tensor]) -> Factors:
    """U diag(S), V and S of each task vector."""
    factors: dict[str, Tensor] = {}
    for i, (u, s, v) in enumerate(map(svd, matrices)):
        factors |= {f"left{i}": u * s, f"right{i}": v, f"values{i}": s}
    return factors


def centred_triplets(matrices: Sequence[Tensor]) -> Factors:
    """The mean task vector, and the triplets of each task vector less it."""
    mean = torch.stack(list(matrices)).mean(0)
    return {"mean": mean, **singular_triplets([matrix - mean for matrix in matrices])}


def mean_of_rescaled(stack: Stack, factors: Factors) -> Tensor:
    """STAR: the mean of the task vectors' largest triplets, scaled to the nuclear norm they had.

    Kept are the fewest that hold a share `eta` of the nuclear norm, and at least one.
    """
    weights = weighted(stack.coefficients, [1.0] * len(stack.vectors))
    delta = torch.zeros(stack.shape[-2:])
    for i, (weight, settings) in enumerate(zip(weights, stack.settings, strict=True)):
        values = factors[f"values{i}"].double()
        if len(values):
            sums = values.cumsum(0)
            k = int((sums < settings["eta"] * sums[-1]).sum()) + 1
            k = min(k, len(values)) if settings["eta"] < 1.0 else len(values)
            scale = weight * (sums[-1] / sums[k - 1]).item()
            delta.add_(_product(factors, i, k), alpha=scale)
    return delta


def mean_and_centred(stack: Stack, factors: Factors) -> Tensor:
    """CART: Σ λᵢ (τ̄ / N + `scale` · (τᵢ − τ̄)ₖ), τ̄ the mean of all, ₖ the k largest triplets.

    k = `rank` · min(m, n), rounded.
    """
    share = sum(stack.coefficients) / len(stack.vectors)
    delta = factors["mean"] * share
    k = int(stack.setting("rank") * min(delta.shape) + 0.5)
    for i, coefficient in enumerate(stack.coefficients):
        delta.add_(_product(factors, i, k), alpha=coefficient * stack.setting("scale"))
    return delta


def _product(factors: Factors, i: int, k: int) -> Tensor:
    return factors[f"left{i}"][:, :k] @ factors[f"right{i}"][:, :k].T
