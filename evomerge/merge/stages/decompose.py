"""Singular values and polar factors of single matrices, in float64.

A matrix is decomposed by the eigenvectors of its smaller Gram matrix, which takes less than half
the time of a general algorithm; in float64 the singular values that float32 weights determine
survive the squaring. Directions whose singular value is below `RANK_TOLERANCE` of the largest are
dropped: they are rounding noise, and methods that give all directions the same weight would make
them as strong as any (a task vector of rank 8 would lose 98 % of its energy to noise).

Matrices are brought to about 1 by a power of two first, so that task vectors scaled by one have
the same directions to the last bit. Decompositions run on one thread, as on several they round
differently; products of matrices do not.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

RANK_TOLERANCE = 1e-5
"""A low-rank change stored in float32 beside larger weights has noise up to about 10⁻⁶ of it."""

Svd = tuple[Tensor, Tensor, Tensor]


def svd(matrix: Tensor) -> Svd:
    """U `(m, k)`, S `(k,)` descending and V `(n, k)` with A = U diag(S) Vᵀ, float64.

    k is the numerical rank, 0 where A is zero.

    Args:
        matrix: `(m, n)`, finite.
    """
    peak = matrix.abs().max().item() if matrix.numel() else 0.0
    if peak == 0.0:
        u, v = (torch.zeros(length, 0, dtype=torch.float64) for length in matrix.shape)
        return u, torch.zeros(0, dtype=torch.float64), v
    scale = 2.0 ** math.frexp(peak)[1]
    with _one_thread():
        u, s, v = _svd(matrix.double() / scale)
    return u, s * scale, v


def polar(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns, or rows where they are fewer: U Vᵀ, float64."""
    u, _, v = svd(matrix)
    return u @ v.T


def truncated(decomposed: Svd, k: int) -> Svd:
    """The k largest singular values with their vectors, or all where there are fewer."""
    u, s, v = decomposed
    return u[:, :k], s[:k], v[:, :k]


def product(decomposed: Svd) -> Tensor:
    """U diag(S) Vᵀ."""
    u, s, v = decomposed
    return (u * s) @ v.T


@contextmanager
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _svd(matrix: Tensor) -> Svd:
    if matrix.shape[0] < matrix.shape[1]:
        v, s, u = _svd(matrix.T)
        return u, s, v
    try:
        squares, vectors = torch.linalg.eigh(matrix.T @ matrix)
    except LinAlgError:  # no convergence; another algorithm may
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        kept = s > RANK_TOLERANCE * s[0]
        return u[:, kept], s[kept], vh[kept].T
    s, v = squares.flip(0).clamp_min_(0.0).sqrt_(), vectors.flip(1)
    kept = s > RANK_TOLERANCE * s[0]
    s, v = s[kept], v[:, kept]
    return (matrix @ v) / s, s, v
