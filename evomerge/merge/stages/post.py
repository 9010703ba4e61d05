"""Post: what is done to the combined vector Δ."""

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Finish, Stack, add


def times_lambda(stack: Stack) -> Finish:
    """λ Δ with the `lambda` of all experts together."""
    scale = stack.setting("lambda")
    return lambda span, delta: delta.mul_(scale)


def ramp_over_layers(stack: Stack) -> Finish:
    """(a + b · depth) Δ, the depth going from 0 at the first layer to 1 at the last (LiNeS).

    a is `lines.start`, b `lines.slope`. A model of one layer has depth 0.
    """
    scale = stack.setting("lines.start") + stack.setting("lines.slope") * stack.depth
    return lambda span, delta: delta.mul_(scale)


def matters_to_enough(stack: Stack) -> Finish:
    """Keep Δ where it matters to `k` experts or more, or to all (consensus).

    An entry matters to expert i where |vᵢ| > `tall` · |Δ₁ − vᵢ|, Δ₁ being Δ at coefficients whose
    largest is 1: the TALL mask. k is rounded; 0 keeps all.
    """
    scale = max(abs(coefficient) for coefficient in stack.coefficients)
    k = min(int(stack.setting("k") + 0.5), len(stack.vectors))
    tall = stack.setting("tall")

    def keep(span: slice, delta: Tensor) -> Tensor:
        merged = delta / scale
        masks = [
            (vector.abs() - tall * (merged - vector).abs()).sign_().clamp_min_(0.0)
            for vector in stack.chunks(span)
        ]
        return torch.where(add(masks) >= k, delta, 0.0)

    return keep
