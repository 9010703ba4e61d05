"""Post: what is done to the Δ of a tensor as a whole."""

import math

from torch import Tensor

from evomerge.merge.stages.kinds import Stack
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
