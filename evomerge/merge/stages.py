"""The stages of which merge methods are made.

A method moves the base by Δ, a composition over the experts' vectors v₁ … v_N of a tensor:

    space → sparsify → weigh → elect → combine → apply

Vectors and results here are flat chunks, `(n,)` float32. Sums over experts are taken one by one in
a fixed order: torch's own reductions round differently at different lengths, and a merge must not
depend on how its tensors are cut. Masks are float32, 1 or 0, and made by arithmetic: on a CPU torch
compares, and multiplies by booleans, several times slower than it multiplies floats.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from evomerge.merge.random_bits import N_VALUES
from evomerge.merge.vectors import ExpertVector

Settings = Mapping[str, float]
"""The values of a method's parameters for one expert."""

Kept = Callable[[slice], Tensor]
"""Gives the sparsified vector on a span; not to be written to."""

Sparsify = Callable[[ExpertVector, Settings], Kept]
Weigh = Callable[[Sequence[float]], tuple[float, ...]]
Elect = Callable[[Sequence[Tensor]], list[Tensor]]
Combine = Callable[[Sequence[Tensor], Sequence[float], Sequence[Tensor]], Tensor]


def keep_all(vector: ExpertVector, settings: Settings) -> Kept:
    """Sparsify: nothing is dropped."""
    return vector.chunk


def keep_largest(vector: ExpertVector, settings: Settings) -> Kept:
    """Sparsify: keep the entries of largest magnitude of the tensor, about `density` of them.

    The threshold is the k-th largest magnitude, k = density · n rounded; entries equal to it are
    all kept, as in the reference of TIES (https://github.com/prateeky2806/ties-merging), so that
    the choice among equals depends on no order. k = 0 keeps nothing.
    """
    k = int(settings["density"] * vector.n + 0.5)
    threshold = np.float32(vector.magnitude_of_rank(k) if k else np.inf)
    if k >= vector.n or threshold == 0.0:
        return vector.chunk
    # hardshrink keeps what is strictly larger.
    below = float(np.nextafter(threshold, np.float32(0.0)))
    return lambda span: hardshrink(vector.chunk(span), below)


def drop_at_random(vector: ExpertVector, settings: Settings) -> Kept:
    """Sparsify: keep each entry with probability `density` p and divide it by p (DARE).

    E[v̂] = v. The mask comes from `random_bits`: the same for every candidate, and a subset of the
    mask of any higher density.
    """
    n_kept_values = round(settings["density"] * N_VALUES)
    if n_kept_values >= N_VALUES:
        return vector.chunk
    rescale = N_VALUES / n_kept_values if n_kept_values else 0.0

    def kept(span: slice) -> Tensor:
        mask = (n_kept_values - vector.random_bits(span)).clamp_(0.0, 1.0)  # 1 where bits < n
        return vector.chunk(span) * mask.mul_(rescale)

    return kept


def as_given(coefficients: Sequence[float]) -> tuple[float, ...]:
    """Weigh: the coefficients as they stand."""
    return tuple(coefficients)


def shares(coefficients: Sequence[float]) -> tuple[float, ...]:
    """Weigh: the coefficients divided by their sum; all zero where the sum is zero."""
    total = math.fsum(coefficients)  # exact, so that the order of the experts does not matter
    return tuple(coefficient / total if total else 0.0 for coefficient in coefficients)


def everyone(contributions: Sequence[Tensor]) -> list[Tensor]:
    """Elect: every expert takes part everywhere, which takes no masks."""
    return []


def sign_of_sum(contributions: Sequence[Tensor]) -> list[Tensor]:
    """Elect: at each entry the experts whose contribution has the sign of the sum (TIES, eq. 3).

    Where the contributions cancel exactly the sum has no sign, nobody is elected, and the base
    stays.

    Args:
        contributions: `(n,)` λᵢ v̂ᵢ of each expert.

    Returns:
        `(n,)` mask of each expert, 1 where it takes part.
    """
    sign = add(contributions).sign_()
    return [(contribution * sign).sign_().clamp_min_(0.0) for contribution in contributions]


def total(
    contributions: Sequence[Tensor], coefficients: Sequence[float], elected: Sequence[Tensor]
) -> Tensor:
    """Combine: Δ = Σᵢ λᵢ v̂ᵢ."""
    return add(contributions)


def mean_of_elected(
    contributions: Sequence[Tensor], coefficients: Sequence[float], elected: Sequence[Tensor]
) -> Tensor:
    """Combine: the elected experts' weighted mean times the largest coefficient among them.

    Δ = max_A|λ| · Σ_A λᵢ v̂ᵢ / Σ_A |λᵢ| over the set A of experts elected at an entry; 0 where A is
    empty. With equal coefficients λ this is λ · mean_A(v̂), the disjoint mean of TIES; a single
    expert contributes λᵢ v̂ᵢ; and an expert whose coefficient goes to zero fades out, which a plain
    count of A would not let it do.

    Args:
        contributions: `(n,)` λᵢ v̂ᵢ of each expert.
        coefficients: λᵢ of each expert.
        elected: `(n,)` mask of each expert.
    """
    moves = add([x * mask for x, mask in zip(contributions, elected, strict=True)])
    sizes = [mask * abs(value) for mask, value in zip(elected, coefficients, strict=True)]
    largest = sizes[0]
    for size in sizes[1:]:
        largest = torch.maximum(largest, size)
    tiny = torch.finfo(torch.float32).tiny  # 0 / tiny = 0 where nobody is elected
    return moves.mul_(largest.div(add(sizes).clamp_min_(tiny)))


def add(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors, one by one in their order, as a new tensor."""
    first, *others = terms
    if not others:
        return first.clone()
    result = first + others[0]
    for term in others[1:]:
        result += term
    return result
