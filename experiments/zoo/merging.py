"""Task arithmetic over flat vectors, just enough to study the zoo without evomerge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

GROUPS = ("embeddings", "layers.0", "layers.1", "layers.2", "layers.3", "norm")


def group_of(tensor_name: str) -> str:
    """Return the layer group of a tensor: one for each layer, the embeddings, the last norm."""
    parts = tensor_name.split(".")
    if parts[1] == "layers":
        return f"layers.{parts[2]}"
    return "norm" if parts[1] == "norm" else "embeddings"


@dataclass(frozen=True, slots=True)
class MergeSpace:
    """A base and its task vectors, flattened in one order.

    Attributes:
        base: `(n_weights,)` float32.
        task_vectors: `(n_experts, n_weights)` float32, expert − base.
        group_of_weight: `(n_weights,)` index into `GROUPS`.
        names: tensor names in their order.
    """

    base: Tensor
    task_vectors: Tensor
    group_of_weight: Tensor
    names: tuple[str, ...]

    def merge(self, coefficients: np.ndarray) -> Tensor:
        """Return θ = θ_base + Σᵢ λᵢ τᵢ, rounded once to bfloat16, as float32 `(n_weights,)`.

        Args:
            coefficients: `(n_experts, n_groups)` λ.
        """
        spread = torch.from_numpy(coefficients).float()[:, self.group_of_weight]
        return (self.base + (spread * self.task_vectors).sum(0)).bfloat16().float()


def load_space(models: Path, experts: Sequence[str]) -> MergeSpace:
    """Load base and experts from their checkpoint folders."""
    base = load_file(models / "base" / "model.safetensors")
    names = tuple(sorted(base))
    groups = [torch.full((base[n].numel(),), GROUPS.index(group_of(n))) for n in names]
    flat = _flatten(base, names)
    loaded = [load_file(models / expert / "model.safetensors") for expert in experts]
    task_vectors = torch.stack([_flatten(tensors, names) - flat for tensors in loaded])
    return MergeSpace(flat, task_vectors, torch.cat(groups), names)


def _flatten(tensors: dict[str, Tensor], names: Sequence[str]) -> Tensor:
    return torch.cat([tensors[name].float().flatten() for name in names])


def load_model(folder: Path) -> LlamaForCausalLM:
    """Load a checkpoint for float32 arithmetic."""
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.train(False)
    return model


def write_weights(model: LlamaForCausalLM, weights: Tensor, names: Sequence[str]) -> None:
    """Copy a flat vector of weights into the model."""
    parameters = dict(model.named_parameters())
    pieces = torch.split(weights, [parameters[name].numel() for name in names])
    with torch.no_grad():
        for name, piece in zip(names, pieces, strict=True):
            parameters[name].copy_(piece.view_as(parameters[name]))
