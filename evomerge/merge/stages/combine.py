"""Combine: one vector Δ from those of the experts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Factor, Moves, add

_TINY = torch.finfo(torch.float32).tiny
"""0 / tiny = 0 where nobody is elected."""


def total(moves: Moves) -> Tensor:
    """Δ = Σ_A fᵢ v̂ᵢ over the set A of experts elected at an entry."""
    return add(moves.masked())


def mean_of_elected(moves: Moves) -> Tensor:
    """The elected experts' weighted mean times the largest coefficient among them.

    Δ = max_A|λ| · Σ_A fᵢ v̂ᵢ / Σ_A |fᵢ| over the set A of experts elected at an entry; 0 where A is
    empty. With equal coefficients λ = f this is λ · mean_A(v̂), the disjoint mean of TIES; a single
    expert contributes λᵢ v̂ᵢ; and an expert whose coefficient goes to zero fades out, which a plain
    count of A would not let it do.
    """
    sizes = _sizes(moves, moves.factors)
    scales = sizes if moves.factors is moves.coefficients else _sizes(moves, moves.coefficients)
    most = scales[0]
    for scale in scales[1:]:
        most = torch.maximum(most, scale)
    return add(moves.masked()).mul_(most.div(add(sizes).clamp_min_(_TINY)))


def ratio_of_elected(moves: Moves) -> Tensor:
    """Δ = Σ_A fᵢ v̂ᵢ / Σ_A fᵢ, so that only the ratios of factors matter; 0 where Σ_A fᵢ is."""
    factors = add(_masked(moves, moves.factors))
    safe = torch.where(factors == 0.0, 1.0, factors)
    return add(moves.masked()).div_(safe).mul_(factors.abs().sign_())


def largest(moves: Moves) -> Tensor:
    """The elected contribution of largest magnitude; 0 where two of opposite sign are equal."""
    values = moves.masked()
    high = low = torch.zeros_like(values[0])
    for value in values:
        high, low = torch.maximum(high, value), torch.minimum(low, value)
    excess = high + low  # its sign says which is further from zero
    return high * excess.sign().clamp_min_(0.0) + low * excess.sign_().neg_().clamp_min_(0.0)


def _sizes(moves: Moves, factors: Sequence[Factor]) -> list[Tensor]:
    """|fᵢ| of those that take part, 0 elsewhere."""
    return [factor.abs() for factor in _masked(moves, factors)]


def _masked(moves: Moves, factors: Sequence[Factor]) -> list[Tensor]:
    """fᵢ of those that take part, 0 elsewhere."""
    if moves.elected:
        return [mask * factor for mask, factor in zip(moves.elected, factors, strict=True)]
    like = moves.values[0]
    return [f if isinstance(f, Tensor) else torch.full_like(like, f) for f in factors]
