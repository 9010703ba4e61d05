"""Spectral merges that give each expert directions of its own: TSV-M, Iso-C, Iso-CTS.

All prepare left `(m, k)`, right `(n, k)` with orthonormal columns, and mix `(k, N)`: how much each
expert's coefficient counts on each of the k directions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.decompose import polar, svd, truncated
from evomerge.merge.store import Factors

_COMMON = 0.8
"""The share of directions that Iso-CTS gives to the sum, the paper's."""


def task_singular_vectors(matrices: Sequence[Tensor]) -> Factors:
    """TSV-M: the largest singular triplets of every expert, made orthogonal to each other's.

    Each of N experts has ⌊r / N⌋ of the r = min(m, n) directions; those that the division leaves
    over go to the largest singular values that are next. The published method drops them, which
    for more experts than directions drops everything.
    """
    parts = [svd(matrix) for matrix in matrices]
    ranks = _ranks([s.tolist() for _, s, _ in parts], min(matrices[0].shape))
    kept = [truncated(*pair) for pair in zip(parts, ranks, strict=True)]
    return {
        "left": polar(torch.cat([u for u, _, _ in kept], 1)),
        "right": polar(torch.cat([v for _, _, v in kept], 1)),
        "mix": _own([s for _, s, _ in kept]),
    }


def isotropic(matrices: Sequence[Tensor]) -> Factors:
    """Iso-C: the sum of the task vectors with all its singular values at their mean.

    The mean is over the directions that the sum has: of a rank-deficient one the others are noise.
    On direction r a coefficient counts by |u_rᵀ τᵢ v_r| among the experts.
    """
    u, s, v = svd(_sum(matrices))
    return {"left": u, "right": v, "mix": _shares(matrices, u, v) * _mean(s)}


def isotropic_with_task_spaces(matrices: Sequence[Tensor]) -> Factors:
    """Iso-CTS: the largest directions of the sum, and of each expert what they do not hold.

    Of r = min(m, n) directions each of N experts has ⌊⌊0.2 r⌋ / N⌋ of its residual (I − U Uᵀ) τᵢ,
    the sum has the rest; all are made orthogonal, and all singular values are the mean of those
    stacked. The reference rounds to the nearest, which may leave the sum less than nothing. A
    coefficient counts on common directions as in `isotropic`, and alone on its expert's own.
    """
    rank, n_experts = min(matrices[0].shape), len(matrices)
    n_own = (rank - int(_COMMON * rank)) // n_experts
    u, s, v = truncated(svd(_sum(matrices)), rank - n_own * n_experts)
    own = [truncated(svd(matrix - u @ (u.T @ matrix)), n_own) for matrix in matrices]
    own_shares = _own([torch.ones_like(part[1]) for part in own])
    values = torch.cat([s, *(part[1] for part in own)])
    return {
        "left": polar(torch.cat([u, *(part[0] for part in own)], 1)),
        "right": polar(torch.cat([v, *(part[2] for part in own)], 1)),
        "mix": torch.cat([_shares(matrices, u, v), own_shares]) * _mean(values),
    }


def _ranks(values: Sequence[Sequence[float]], most: int) -> list[int]:
    """How many of its descending singular values each expert keeps, `most` in all."""
    ranks = [most // len(values)] * len(values)
    following = [s[k] if k < len(s) else 0.0 for s, k in zip(values, ranks, strict=True)]
    by_size = sorted(range(len(values)), key=lambda i: -following[i])
    for i in by_size[: most % len(values)]:
        ranks[i] += 1
    return ranks


def _own(values: Sequence[Tensor]) -> Tensor:
    """`(k, N)` numbers of directions, each of which belongs to one of the experts."""
    columns = torch.eye(len(values), dtype=torch.float64)
    return torch.cat([own[:, None] * columns[i] for i, own in enumerate(values)])


def _sum(matrices: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(matrices)).sum(0)


def _mean(values: Tensor) -> Tensor:
    return values.mean() if len(values) else values.sum()


def _shares(matrices: Sequence[Tensor], u: Tensor, v: Tensor) -> Tensor:
    """`(k, N)` |u_rᵀ τᵢ v_r| as shares of their sum over the experts."""
    sizes = torch.stack([((u.T @ matrix) * v.T).sum(1).abs() for matrix in matrices], 1)
    return sizes / sizes.sum(1, keepdim=True)
