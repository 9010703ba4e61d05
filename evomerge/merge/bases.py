"""Matrix: an elementwise method run on the coordinates of task vectors in a common basis.

    τᵢ = L Cᵢ Rᵀ,   Δ = L inner(C₁ … C_N) Rᵀ

with orthonormal columns of L `(m, p)` and R `(n, q)`, worked out once for the experts that take
part and kept with the coordinates Cᵢ `(p, q)` (`store`). A candidate costs the inner method on the
Cᵢ, which are small where the experts are of low rank, and one or two products. Inner methods that
merely add up task vectors give the same as without a basis.

A tensor of three dimensions is a stack of matrices, each with bases of its own.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evomerge.merge.elementwise import merged_elementwise
from evomerge.merge.method import MergeMethod
from evomerge.merge.stages.decompose import svd
from evomerge.merge.stages.kinds import Matrix, Stack
from evomerge.merge.stages.spectral import dense, each_matrix
from evomerge.merge.store import Factors
from evomerge.merge.vectors import ExpertVector


def in_common_columns(inner: MergeMethod) -> Matrix:
    """KnOTS: [τ₁ … τ_N] = U diag(S) [V₁ … V_N]ᵀ, and the method merges Cᵢ = diag(S) Vᵢᵀ.

    L = U, and R is the identity.
    """

    def prepare(vectors: Sequence[ExpertVector], index: int) -> Factors:
        matrices = [dense(vector, index) for vector in vectors]
        left, _, _ = svd(torch.cat(matrices, 1))
        return {"left": left} | {f"c{i}": left.T @ matrix for i, matrix in enumerate(matrices)}

    return _in_basis("knots", prepare, inner)


def in_core(inner: MergeMethod) -> Matrix:
    """Core space: of τᵢ = Bᵢ Aᵢ, L is a basis of the columns of all Bᵢ, R of the rows of all Aᵢ.

    An adapter gives its own factors; those of other experts are U √S and √S Vᵀ from their singular
    value decomposition, cut at its numerical rank.
    """

    def prepare(vectors: Sequence[ExpertVector], index: int) -> Factors:
        pairs = [_factors(vector, index) for vector in vectors]
        left, _, _ = svd(torch.cat([b for b, _ in pairs], 1))
        _, _, right = svd(torch.cat([a for _, a in pairs]))
        coordinates = {f"c{i}": (left.T @ b) @ (a @ right) for i, (b, a) in enumerate(pairs)}
        return {"left": left, "right": right} | coordinates

    return _in_basis("core", prepare, inner)


def _factors(vector: ExpertVector, index: int) -> tuple[Tensor, Tensor]:
    """B `(m, r)` and A `(r, n)` of a matrix, float64."""
    own = vector.factors()
    if own is not None:
        return own[0].double(), own[1].double()
    u, s, v = svd(dense(vector, index))
    root = s.sqrt()
    return u * root, (v * root).T


def _in_basis(
    name: str, prepare: Callable[[Sequence[ExpertVector], int], Factors], inner: MergeMethod
) -> Matrix:
    def matrix(stack: Stack) -> Tensor:
        def merged(index: int) -> Tensor:
            vectors = stack.vectors
            made_from = (name, str(index), *(vector.digest() for vector in vectors))
            factors = vectors[0].store.entry(made_from, lambda: prepare(vectors, index))
            if not factors["left"].numel():
                return torch.zeros(stack.shape[-2:])
            coordinates = [
                _coordinates(vector, factors[f"c{i}"], f"{name} {index} {'/'.join(made_from[2:])}")
                for i, vector in enumerate(vectors)
            ]
            delta = factors["left"] @ _merged(inner, stack, coordinates)
            return delta @ factors["right"].T if "right" in factors else delta

        return each_matrix(stack, merged)

    return matrix


def _merged(inner: MergeMethod, stack: Stack, vectors: Sequence[ExpertVector]) -> Tensor:
    """The inner method on the coordinates, `(p, q)`."""
    merged = torch.empty(vectors[0].shape)
    flat = merged.view(-1)
    coordinates = Stack(vectors, stack.coefficients, stack.settings)
    for span, delta in merged_elementwise(inner, coordinates, vectors[0].spans):
        flat[span] = delta
    return merged


def _coordinates(vector: ExpertVector, values: Tensor, basis: str) -> ExpertVector:
    step = max(span.stop - span.start for span in vector.spans)
    starts = range(0, values.numel(), step)
    return vector.with_values(
        values,
        basis=basis,
        spans=tuple(slice(start, min(start + step, values.numel())) for start in starts),
    )
