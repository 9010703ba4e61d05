"""Tiny models with real tokenizers of their own, for tests of vocabularies."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from evomerge.checkpoint.reader import Checkpoint, open_checkpoint

ENGLISH = "the cat sat on the mat and the dog sat on the log while the cat ran to the dog"
CODE = "def run(cat): return cat.run(dog) for dog in range(10) if dog: return run(dog)"
HIDDEN = 8


def bpe(text: str = ENGLISH, *, vocab: int = 300, special: Sequence[str] = ("<eos>",)) -> Tokenizer:
    """A byte-level BPE tokenizer, its special tokens after its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([text], trainer)
    return with_tokens(tokenizer, special)


def word_level(text: str = ENGLISH, *, special: Sequence[str] = ("<eos>",)) -> Tokenizer:
    """A tokenizer that knows the words of a text, its special tokens first."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *special], show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def with_tokens(tokenizer: Tokenizer, special: Sequence[str]) -> Tokenizer:
    """A copy with more special tokens, numbered after all others."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_special_tokens([AddedToken(token, special=True) for token in special])
    return copy


def ids(tokenizer: Tokenizer) -> dict[str, int]:
    """token → id, added ones included."""
    found: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return found


def write_tokenized(
    folder: Path,
    tokenizer: Tokenizer | None,
    *,
    seed: int = 0,
    n_rows: int | None = None,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    eos: str = "<eos>",
) -> Checkpoint:
    """Write and open a one-layer Llama whose tables have `n_rows`, as many as tokens by default."""
    folder.mkdir(parents=True)
    n_rows = n_rows or (len(ids(tokenizer)) if tokenizer else 16)
    tensors = _llama(seed, n_rows, tied=tied)
    save_file({n: x.to(dtype) for n, x in tensors.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": n_rows,
        "hidden_size": HIDDEN,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(eos) if tokenizer else None,
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "chat_template.jinja").write_text(f"{folder.name}: {{{{ messages }}}}")
        generation = {"eos_token_id": config["eos_token_id"], "temperature": 0.5}
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return open_checkpoint(folder)


def _llama(seed: int, n_rows: int, *, tied: bool) -> dict[str, Tensor]:
    shapes = {"model.embed_tokens.weight": (n_rows, HIDDEN), "model.norm.weight": (HIDDEN,)}
    layer = "model.layers.0"
    shapes |= {f"{layer}.self_attn.{m}_proj.weight": (HIDDEN, HIDDEN) for m in "qkvo"}
    shapes |= {f"{layer}.mlp.{m}_proj.weight": (12, HIDDEN) for m in ("gate", "up")}
    shapes |= {f"{layer}.mlp.down_proj.weight": (HIDDEN, 12)}
    shapes |= {f"{layer}.{m}_layernorm.weight": (HIDDEN,) for m in ("input", "post_attention")}
    if not tied:
        shapes["lm_head.weight"] = (n_rows, HIDDEN)
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
