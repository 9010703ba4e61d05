"""Tiny real models on disk, and faults to put into them."""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

torch.set_num_threads(1)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}


def llama_tensors(seed: int) -> dict[str, Tensor]:
    shapes = {"model.embed_tokens.weight": (16, 8)}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        for module in "qkvo":
            shapes[f"{prefix}.self_attn.{module}_proj.weight"] = (8, 8)
        shapes[f"{prefix}.mlp.gate_proj.weight"] = (12, 8)
        shapes[f"{prefix}.mlp.up_proj.weight"] = (12, 8)
        shapes[f"{prefix}.mlp.down_proj.weight"] = (8, 12)
        shapes[f"{prefix}.input_layernorm.weight"] = (8,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (8,)
    shapes |= {"model.norm.weight": (8,), "lm_head.weight": (16, 8)}
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (0.1 * torch.randn(shape, generator=generator)).bfloat16()
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def tensors() -> Callable[[int], dict[str, Tensor]]:
    """The tensors of a two-layer Llama, by seed."""
    return llama_tensors


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model folder; `config` changes or, by None, removes keys."""

    def write(
        name: str, tensors: Mapping[str, Tensor] | None = None, *, seed: int = 0, **config: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        merged = {key: value for key, value in (CONFIG | config).items() if value is not None}
        (folder / "config.json").write_text(json.dumps(merged))
        (folder / "tokenizer.json").write_text("{}")
        save_file(
            dict(llama_tensors(seed) if tensors is None else tensors),
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        return folder

    return write


@pytest.fixture
def save_sharded(save: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a model folder in two shards with an index."""

    def write(name: str, *, seed: int = 0) -> Path:
        folder = save(name, seed=seed)
        (folder / "model.safetensors").unlink()
        tensors = llama_tensors(seed)
        weight_map = {}
        for number, part in enumerate((list(tensors)[:9], list(tensors)[9:]), start=1):
            file = f"model-0000{number}-of-00002.safetensors"
            save_file({key: tensors[key] for key in part}, folder / file)
            weight_map |= dict.fromkeys(part, file)
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return write


@pytest.fixture(scope="session")
def raw_safetensors() -> Callable[[str, bytes], bytes]:
    """The bytes of a safetensors file with this header and data."""
    return lambda header, data: struct.pack("<Q", len(header)) + header.encode() + data


@pytest.fixture(scope="session")
def checksums() -> Callable[[Path], dict[str, str]]:
    """The SHA-256 of every file of a folder."""
    return lambda folder: {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
    }
