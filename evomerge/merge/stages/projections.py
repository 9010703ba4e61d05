"""Spectral merges that are linear in the task vectors: WUDI, OptMerge, OPCM.

All prepare the part of the merge that each expert makes, moveᵢ `(m, n)`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.decompose import product, svd, truncated
from evomerge.merge.stages.spectral import moves
from evomerge.merge.store import Factors

_ENERGY = 0.5
"""OPCM's α: the share of the singular values in whose directions a later expert stays away."""


def least_interference(matrices: Sequence[Tensor]) -> Factors:
    """WUDI: X that minimises Σ ‖(X − τᵢ) τᵢᵀ‖² / ‖τᵢ‖², in closed form.

    The gradient is zero where X Σ Gᵢ = Σ τᵢ Gᵢ, Gᵢ = τᵢᵀ τᵢ / ‖τᵢ‖². The published method descends
    from Σ τᵢ for some hundred steps. Directions that no task vector has stay 0, as they do there.
    """
    rows = [_normed(matrix, matrix) for matrix in matrices]
    return _solved(matrices, rows, starts=[torch.zeros_like(matrix) for matrix in matrices])


def least_interference_denoised(matrices: Sequence[Tensor]) -> Factors:
    """OptMerge: WUDI with low-rank task vectors, in closed form.

    In the residual X − τᵢ stands the mean task vector and the k largest singular triplets of τᵢ
    less it, in the projection diag(S) Vᵀ of the k largest of τᵢ; k = ⌊min(m, n) / N⌋, at least 1.
    Where no projection looks X is Σ τᵢ, from where the published method descends. Its variant for
    full fine-tunes.
    """
    k = max(1, min(matrices[0].shape) // len(matrices))
    mean = torch.stack(list(matrices)).mean(0)
    denoised = [mean + product(truncated(svd(matrix - mean), k)) for matrix in matrices]
    rows = []
    for matrix in matrices:
        _, s, v = truncated(svd(matrix), k)
        rows.append(_normed(s[:, None] * v.T, matrix))
    return _solved(denoised, rows, starts=matrices)


def sequential_projections(matrices: Sequence[Tensor]) -> Factors:
    """OPCM: one expert after the other, less what lies where those before it have merged.

    With U diag(S) Vᵀ = Σ_{j<i} moveⱼ, of Uᵀ τᵢ V the diagonal is set to zero, and the block of the
    largest singular values that hold half of their sum or less. The moves are then scaled so that
    the norm of their sum is the mean norm of the task vectors; here tensor by tensor, where the
    published method has one scale for the model. The order is that of the experts' names.
    """
    parts: list[Tensor] = []
    merged = torch.zeros_like(matrices[0])
    for matrix in matrices:
        u, s, v = svd(merged)
        taken = torch.eye(len(s), dtype=torch.bool)
        k = int((s.cumsum(0) <= _ENERGY * s.sum()).sum())
        taken[:k, :k] = True
        parts.append(matrix - u @ ((u.T @ matrix @ v) * taken) @ v.T)
        merged += parts[-1]
    norm = torch.linalg.norm(merged)
    mean = torch.stack([torch.linalg.norm(matrix) for matrix in matrices]).mean()
    return moves([part * (mean / norm) if norm else part for part in parts])


def _normed(rows: Tensor, matrix: Tensor) -> Tensor:
    norm = torch.linalg.norm(matrix)
    return rows / norm if norm else rows


def _solved(
    targets: Sequence[Tensor], rows: Sequence[Tensor], *, starts: Sequence[Tensor]
) -> Factors:
    """The parts of X with X Σ Gᵢ = Σ targetᵢ Gᵢ, Gᵢ = rowsᵢᵀ rowsᵢ; Σ startᵢ where Σ Gᵢ is zero."""
    _, s, v = svd(torch.cat(list(rows)))  # Σ Gᵢ = V S² Vᵀ
    return moves(
        [
            ((target @ row.T) @ (row @ v) / s.square() - start @ v) @ v.T + start
            for target, row, start in zip(targets, rows, starts, strict=True)
        ]
    )
