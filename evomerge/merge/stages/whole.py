"""Post: what is done to the Δ of a tensor as a whole.

Those that need the singular values of Δ decompose it for each candidate: any method may stand
before them, so that nothing about Δ is known in advance. It takes about as long for a matrix as to
prepare one expert of a spectral method.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from evomerge.errors import NonFiniteError
from evomerge.merge.stages.decompose import product, svd, truncated
from evomerge.merge.stages.kinds import Stack
from evomerge.merge.stages.spectral import dense, each_matrix
from evomerge.merge.sums import total


def to_mean_norm(stack: Stack, delta: Tensor) -> Tensor:
    """Δ · (Σ |λᵢ| ‖vᵢ‖ / Σ |λᵢ| / ‖Δ‖)^`norm_match.strength`; Δ where it is 0.

    At strength 1 the coefficients count by their ratios alone.
    """
    norm = math.sqrt(total(stack.shape, lambda span: delta[span].double().square_()))
    if norm == 0.0:
        return delta
    sizes = [abs(coefficient) for coefficient in stack.coefficients]
    norms = [math.sqrt(vector.energy()) for vector in stack.vectors]
    mean = math.fsum(x * y for x, y in zip(sizes, norms, strict=True)) / math.fsum(sizes)
    return delta.mul_((mean / norm) ** stack.setting("norm_match.strength"))


def calibrate(stack: Stack, delta: Tensor) -> Tensor:
    """SVC: Δ' = Σ γ_r s_r u_r v_rᵀ, smaller where several experts add up in one direction.

    With Δ = Σ s_r u_r v_rᵀ of N experts, γ_r = N / Σᵢ max(`svc.alpha`, s_ri), where s_ri =
    ⟨u_rᵀ Δ, u_rᵀ τᵢ⟩ / ‖u_rᵀ τᵢ‖² says how often Δ holds expert i's part of the direction; 0 where
    it has none. As published Δ is compared with whole task vectors: parts that coefficients made
    small are enlarged again, to 1 / `svc.alpha` times at most.
    """
    alpha = stack.setting("svc.alpha")

    def calibrated(matrix: Tensor, index: int) -> Tensor:
        u, s, v = svd(matrix)
        response = s[:, None] * v.T  # u_rᵀ Δ, (k, n)
        whole = torch.zeros_like(s)
        for vector in stack.vectors:
            own = u.T @ dense(vector, index)
            energy = own.square().sum(1)
            ratio = (response * own).sum(1) / torch.where(energy > 0.0, energy, 1.0)
            whole += ratio.clamp(min=alpha)
        return product((u, s * len(stack.vectors) / whole, v))

    return _of_matrices(stack, delta, calibrated)


def truncate(stack: Stack, delta: Tensor) -> Tensor:
    """The k largest singular triplets of Δ: `low_rank.share` · min(m, n) rounded, at least 1."""
    rank = min(stack.shape[-2:])
    k = max(1, int(stack.setting("low_rank.share") * rank + 0.5))
    if k >= rank:
        return delta
    return _of_matrices(stack, delta, lambda matrix, _: product(truncated(svd(matrix), k)))


def flatten(stack: Stack, delta: Tensor) -> Tensor:
    """Singular values S of Δ become c · S^(1 − q), c such that their sum stays; q is `flatten.q`.

    0 leaves Δ, 1 makes all singular values equal: Iso-C of whatever Δ is. Directions that Δ does
    not have stay at 0.
    """
    q = stack.setting("flatten.q")

    def flattened(matrix: Tensor, _: int) -> Tensor:
        u, s, v = svd(matrix)
        if not len(s):
            return matrix
        powers = (s / s[0]) ** (1.0 - q)
        return product((u, powers * (s.sum() / powers.sum()), v))

    return delta if q == 0.0 else _of_matrices(stack, delta, flattened)


def _of_matrices(stack: Stack, delta: Tensor, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """What a function gives for each `(m, n)` matrix of Δ in float64, by its index.

    Raises:
        NonFiniteError: Δ has entries that are NaN or infinite.
    """
    if not delta.isfinite().all():
        raise NonFiniteError(
            f"the merge of tensor '{stack.vectors[0].tensor}' has entries that are NaN or infinite "
            "before its singular values are changed; check the models with find_damage, and "
            "if they are clean lower the coefficients: the sum overflows"
        )
    matrices = delta.view(-1, *stack.shape[-2:])
    return each_matrix(stack, lambda index: change(matrices[index].double(), index).float())
