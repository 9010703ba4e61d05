"""Matrix: methods that decompose the experts' task vectors once, and merge them by products.

What a decomposition depends on are the experts that take part and the method, never a number that
differs between candidates: so it is done once, at equal coefficients, and kept (`store`). A
coefficient then scales what the decomposition made of its expert:

    Δ = left diag(mix λ) rightᵀ        (subspaces: TSV-M, Iso-C, Iso-CTS), or
    Δ = Σ λᵢ moveᵢ                     (projections: WUDI, OptMerge, OPCM)

Equal coefficients λ give λ times the published merge. Others weigh its parts, which keeps each
candidate at one product or sum; the published methods have no coefficient for each expert.
Decompositions count all live experts alike: a coefficient that goes to zero takes an expert's part
away, and only at zero itself are the directions those of the others alone.

A tensor of three dimensions is a stack of matrices, each merged apart.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evomerge.errors import NonFiniteError
from evomerge.merge.stages.kinds import Matrix, Stack
from evomerge.merge.store import Factors
from evomerge.merge.vectors import ExpertVector

Prepare = Callable[[Sequence[Tensor]], Factors]
"""Gives the factors of the experts' `(m, n)` float64 task vectors of one matrix."""

Recombine = Callable[[Stack, Factors], Tensor]
"""Gives Δ `(m, n)` float32 of one matrix from its factors, by sums and products alone."""


def prepared(name: str, prepare: Prepare, recombine: Recombine) -> Matrix:
    """The matrix stage whose factors are kept under this name.

    It raises NonFiniteError where a task vector that is decomposed has NaN or infinite entries.
    """

    def matrix(stack: Stack) -> Tensor:
        def merged(index: int) -> Tensor:
            factors = stack.vectors[0].store.entry(
                (name, str(index), *(vector.digest() for vector in stack.vectors)),
                lambda: prepare([dense(vector, index) for vector in stack.vectors]),
            )
            return recombine(stack, factors)

        return each_matrix(stack, merged)

    return matrix


def each_matrix(stack: Stack, merged: Callable[[int], Tensor]) -> Tensor:
    """What a function gives for each matrix of the tensor by its index, `(n,)`."""
    if len(stack.shape) == 2:
        return merged(0).reshape(-1)
    return torch.cat([merged(index).reshape(-1) for index in range(stack.shape[0])])


def dense(vector: ExpertVector, index: int) -> Tensor:
    """The task vector of a matrix, `(m, n)` float64.

    Raises:
        NonFiniteError: it has entries that are NaN or infinite.
    """
    m, n = vector.shape[-2:]
    matrix = vector.chunk(slice(index * m * n, (index + 1) * m * n)).view(m, n).double()
    if not math.isfinite(matrix.sum()) and not matrix.isfinite().all():
        raise NonFiniteError(
            f"the task vector of expert '{vector.expert}' on tensor '{vector.tensor}' has entries "
            "that are NaN or infinite, so that it has no singular values; check the models with "
            "find_damage"
        )
    return matrix


def recombined(stack: Stack, factors: Factors) -> Tensor:
    """left diag(mix λ) rightᵀ."""
    coefficients = torch.tensor(stack.coefficients, dtype=torch.float64)
    scales = (factors["mix"].double() @ coefficients).float()  # (k,)
    return (factors["left"] * scales) @ factors["right"].T


def moved(stack: Stack, factors: Factors) -> Tensor:
    """Σ λᵢ moveᵢ."""
    delta = torch.zeros_like(factors["move0"])
    for i, coefficient in enumerate(stack.coefficients):
        delta.add_(factors[f"move{i}"], alpha=coefficient)
    return delta


def moves(matrices: Sequence[Tensor]) -> Factors:
    """The factors of `moved`."""
    return {f"move{i}": matrix for i, matrix in enumerate(matrices)}
