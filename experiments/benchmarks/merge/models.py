"""A base and three experts of random weights on disk, in the shapes of a Llama, in bfloat16."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

EXPERTS = ("a", "b", "c")
SIZES = {
    "7M": (2000, 384, 1024, 4),
    "100M": (32000, 768, 2048, 11),
    "1B": (32000, 2048, 5632, 20),
}
"""Vocabulary, hidden size, size of the MLP, layers."""


def shapes(sizes: tuple[int, int, int, int]) -> dict[str, tuple[int, ...]]:
    """The tensors of a Llama with tied embeddings."""
    vocabulary, hidden, mlp, n_layers = sizes
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}"
        for module in "qkvo":
            found[f"{prefix}.self_attn.{module}_proj.weight"] = (hidden, hidden)
        for module in ("gate", "up"):
            found[f"{prefix}.mlp.{module}_proj.weight"] = (mlp, hidden)
        found[f"{prefix}.mlp.down_proj.weight"] = (hidden, mlp)
        for norm in ("input", "post_attention"):
            found[f"{prefix}.{norm}_layernorm.weight"] = (hidden,)
    return {**found, "model.norm.weight": (hidden,)}


def save_models(folder: Path, size: str) -> None:
    """Write `base` and the experts, weights of size 0.02 that fine-tuning changed by a tenth."""
    generator = torch.Generator().manual_seed(0)

    def noise(shape: tuple[int, ...], scale: float) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(scale)

    base = {k: noise(shape, 0.02).bfloat16() for k, shape in shapes(SIZES[size]).items()}
    _save(folder / "base", base, size)
    for expert in EXPERTS:
        changed = {k: (x + noise(x.shape, 0.002)).bfloat16() for k, x in base.items()}
        _save(folder / expert, changed, size)


def _save(folder: Path, tensors: dict[str, Tensor], size: str) -> None:
    vocabulary, hidden, mlp, n_layers = SIZES[size]
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": n_layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
