"""What each kind of adapter makes of a weight, as published and as peft merges it.

A formula takes the weight `(n_out, n_in)`, the adapter's tensors for it by the end of their names,
and the scale, all in float32, and gives the new weight. None of them writes to what it is given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
Formula = Callable[[Tensor, Parts, float], Tensor]


@dataclass(frozen=True)
class AdapterKind:
    """A kind of adapter: what its tensors are called, and what they do.

    Args:
        parts: the ends of its tensors' names that follow the name of a module.
        weight: the formula of a module's weight.
        bias: the formula of a module's bias, or None where it is left alone.
        alpha: the setting that is divided by the rank for the scale, or None for no scale.
    """

    parts: tuple[str, ...]
    weight: Formula
    bias: Formula | None = None
    alpha: str | None = None


def low_rank(parts: Parts, scale: float) -> tuple[Tensor, Tensor] | None:
    """B `(n_out, r)`, with the scale, and A `(r, n_in)` with τ = B A; None where τ is not that."""
    if "lora_embedding_A" in parts:  # stored for the transpose
        return parts["lora_embedding_A"].T * scale, parts["lora_embedding_B"].T
    if "lora_A" in parts and "lora_magnitude_vector" not in parts:
        return parts["lora_B"] * scale, parts["lora_A"]
    return None


def _lora(weight: Tensor, parts: Parts, scale: float) -> Tensor:
    """W + s B A, LoRA of Hu et al. (2021), https://arxiv.org/abs/2106.09685.

    With a magnitude m also DoRA of Liu et al. (2024), https://arxiv.org/abs/2402.09353: the rows of
    W + s B A, each scaled to the norm mᵢ.
    """
    if "lora_embedding_A" in parts:
        return weight + (parts["lora_embedding_B"] @ parts["lora_embedding_A"]).T * scale
    adapted: Tensor = weight + (parts["lora_B"] @ parts["lora_A"]) * scale
    if "lora_magnitude_vector" not in parts:
        return adapted
    norms: Tensor = torch.linalg.vector_norm(adapted, dim=1, keepdim=True)
    return parts["lora_magnitude_vector"].reshape(-1, 1) / norms * adapted


def _ia3(weight: Tensor, parts: Parts, _scale: float) -> Tensor:
    """W · l, (IA)³ of Liu et al. (2022), https://arxiv.org/abs/2205.05638.

    Over a module's inputs, `(1, n_in)`, or over its outputs, `(n_out, 1)`.
    """
    return weight * parts["ia3_l"]


def _ia3_bias(bias: Tensor, parts: Parts, _scale: float) -> Tensor:
    scales_outputs = parts["ia3_l"].shape[0] > 1
    return bias * parts["ia3_l"].flatten() if scales_outputs else bias


def _loha(weight: Tensor, parts: Parts, scale: float) -> Tensor:
    """W + s (W₁ₐ W₁ᵦ) ∘ (W₂ₐ W₂ᵦ), LoHa of Hyeon-Woo et al. (2022), https://arxiv.org/abs/2108.06098."""
    first = parts["hada_w1_a"] @ parts["hada_w1_b"]
    return weight + first * (parts["hada_w2_a"] @ parts["hada_w2_b"]) * scale


def _lokr(weight: Tensor, parts: Parts, scale: float) -> Tensor:
    """W + s W₁ ⊗ W₂, each stored whole or as a product; LoKr of Yeh et al. (2024),
    https://arxiv.org/abs/2309.14859."""
    first, second = (
        parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"]
        for name in ("lokr_w1", "lokr_w2")
    )
    return weight + torch.kron(first, second) * scale


KINDS = {
    "LORA": AdapterKind(
        ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"),
        _lora,
        alpha="lora_alpha",
    ),
    "IA3": AdapterKind(("ia3_l",), _ia3, bias=_ia3_bias),
    "LOHA": AdapterKind(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), _loha, alpha="alpha"),
    "LOKR": AdapterKind(
        ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
        _lokr,
        alpha="alpha",
    ),
}
"""The kinds of adapters that are a plain change of weights, by their `peft_type`."""
