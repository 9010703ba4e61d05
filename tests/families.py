"""Tiny random models of many families, as transformers itself builds and saves them."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    T5Config,
)

_IDS = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
_MODERN = {
    "vocab_size": 128,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    **_IDS,
}
_GROUPED = {**_MODERN, "num_key_value_heads": 1}
FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**_GROUPED),
    "mistral": MistralConfig(**_GROUPED),
    "qwen2": Qwen2Config(**_GROUPED),
    "qwen3": Qwen3Config(**_GROUPED, head_dim=8),
    "qwen3_moe": Qwen3MoeConfig(
        **_GROUPED, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12
    ),
    "gemma2": Gemma2Config(**_GROUPED, head_dim=8),
    "gemma3": Gemma3TextConfig(**_GROUPED, head_dim=8),
    "phi3": Phi3Config(**_GROUPED),
    "olmo2": Olmo2Config(**_GROUPED),
    "mixtral": MixtralConfig(**_GROUPED, num_local_experts=4),
    "gpt2": GPT2Config(
        vocab_size=128, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1,
        eos_token_id=1,
    ),
    "gpt_neox": GPTNeoXConfig(**_MODERN),
    "t5": T5Config(
        vocab_size=128, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
        decoder_start_token_id=0,
    ),
    "mamba": MambaConfig(
        vocab_size=128, hidden_size=16, state_size=4, num_hidden_layers=2, **_IDS
    ),
}  # fmt: skip
"""A configuration of each family, by its `model_type` without `_text`."""


def auto_class(family: str) -> type[AutoModelForCausalLM] | type[AutoModelForSeq2SeqLM]:
    """What loads models of a family with their heads."""
    return AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM


def save_family(folder: Path, family: str, seed: int) -> Path:
    """A random bfloat16 model of a family, in its Hugging Face folder."""
    torch.manual_seed(seed)
    model = auto_class(family).from_config(FAMILIES[family]).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
