"""Tiny real models and lm-eval tasks for every room's tests: Hugging Face folders, real tokenizers.

The models are random, but their greedy answers vary from prompt to prompt and end, so that tasks
whose targets are those answers (see `write_tasks`) have mixed outcomes.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "no", "pi", "ru", "sa", "to")
WORDS = tuple(a + b for a, b in itertools.product(SYLLABLES, SYLLABLES))
EOS, PAD = "<eos>", "<pad>"
QWEN2_EOS = "<|endoftext|>"  # transformers adds it to any tokenizer beside a Qwen2 config
MAX_GEN_TOKS = 6


@dataclass(frozen=True)
class TinyZoo:
    """A base, its experts, and tasks on which they differ."""

    base: Path
    experts: Mapping[str, Path]
    tasks_path: Path
    search_tasks: tuple[str, ...] = ("words_search", "choice_search")
    test_tasks: tuple[str, ...] = ("words_test", "choice_test")


def write_zoo(path: Path) -> TinyZoo:
    """A Llama base, two experts near it, and search and test tasks of both output types."""
    base = write_model(path / "base", seed=0)
    experts = {
        name: write_expert(path / name, base, seed=seed)
        for seed, name in enumerate(("red", "blue"), start=1)
    }
    write_tasks(path / "tasks", answering=(base, *experts.values()))
    return TinyZoo(base=base, experts=experts, tasks_path=path / "tasks")


def write_model(
    path: Path,
    seed: int,
    *,
    architecture: str = "llama",
    layers: int = 2,
    hidden: int = 32,
    vocab: int = 128,
    tied: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Write a random model (`llama`, `qwen2` or `gpt_neox`) with its tokenizer; returns `path`."""
    tokenizer = write_tokenizer(path, vocab=vocab)
    config = _config(architecture, len(tokenizer), layers=layers, hidden=hidden, tied=tied)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        # A loud end token ends some answers early; no answer of a random model would end else.
        model.get_output_embeddings().weight[tokenizer.eos_token_id] *= 2.0
    model.to(dtype).save_pretrained(path)
    return path


def write_expert(path: Path, base: Path, seed: int, *, size: float = 0.15) -> Path:
    """Write `base` plus noise of `size` times the root mean square of each tensor."""
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    for name, tensor in sorted(tensors.items()):
        noise = torch.randn(tensor.shape, generator=generator)
        scale = size * tensor.float().square().mean().sqrt()
        tensors[name] = (tensor.float() + scale * noise).to(tensor.dtype)
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    for file in base.iterdir():
        if file.suffix == ".json":
            (path / file.name).write_bytes(file.read_bytes())
    return path


def write_tokenizer(path: Path, *, vocab: int = 128) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the tasks' words and write it into the folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[EOS, PAD, QWEN2_EOS], show_progress=False, min_frequency=1
    )
    text = "\n".join([" ".join(WORDS), "say: 0 1 2 3 4 5 6 7 8 9 = ?\n\n"])
    tokenizer.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD)
    fast.save_pretrained(path)
    return fast


def write_tasks(
    path: Path,
    *,
    answering: Sequence[Path] = (),
    n_search: int = 40,
    n_test: int = 60,
    n_fewshot: int = 10,
) -> Path:
    """Write `words_search|test` (generate_until) and `choice_search|test` (multiple_choice).

    A words item's target is the greedy answer of one of the models `answering`, in turn, and for
    one item in each round a random word, which none of them will say.
    """
    path.mkdir(parents=True, exist_ok=True)
    prompts = _prompts(np.random.default_rng(7))
    for split, n in (("fewshot", n_fewshot), ("search", n_search), ("test", n_test)):
        rng = np.random.default_rng([3, n])
        mine = [next(prompts) for _ in range(n)]
        _write_jsonl(path / f"words_{split}.jsonl", _words(rng, mine, answering))
        _write_jsonl(path / f"choice_{split}.jsonl", _choices(rng, mine))
    for split in ("search", "test"):
        (path / f"words_{split}.yaml").write_text(_HEADER.format("words", split) + _GENERATE)
        (path / f"choice_{split}.yaml").write_text(_HEADER.format("choice", split) + _CHOOSE)
    return path


def greedy_answers(model_path: Path, prompts: Sequence[str]) -> list[str]:
    """What the model says to each prompt, up to a newline or its end token."""
    tokenizer = AutoTokenizer.from_pretrained(model_path, padding_side="left")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True)
    batch.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = model.generate(
            **batch, do_sample=False, max_new_tokens=MAX_GEN_TOKS, use_cache=True
        )
    answers = tokens[:, batch["input_ids"].shape[1] :]
    texts: list[str] = tokenizer.batch_decode(answers, skip_special_tokens=False)
    return [text.split("\n")[0].split(EOS)[0] for text in texts]


def _config(
    architecture: str, vocab_size: int, *, layers: int, hidden: int, tied: bool
) -> PretrainedConfig:
    shape = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.25,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
    }
    if architecture == "gpt_neox":
        return GPTNeoXConfig(**shape)
    kinds = {"llama": LlamaConfig, "qwen2": Qwen2Config}
    return kinds[architecture](num_key_value_heads=2, **shape)


def _prompts(rng: np.random.Generator) -> Iterator[str]:
    """Distinct prompts of different lengths, for ever."""
    seen = set()
    while True:
        prompt = f"say: {' '.join(rng.choice(WORDS, size=rng.integers(1, 6)))} ="
        if prompt not in seen:
            seen.add(prompt)
            yield prompt


def _words(
    rng: np.random.Generator, prompts: Sequence[str], answering: Sequence[Path]
) -> list[dict[str, object]]:
    answers = [greedy_answers(model, prompts) for model in answering]
    answers.append([" " + str(rng.choice(WORDS)) for _ in prompts])
    targets = [answers[i % len(answers)][i] for i in range(len(prompts))]
    return [{"prompt": p, "target": t} for p, t in zip(prompts, targets, strict=True)]


def _choices(rng: np.random.Generator, prompts: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "prompt": prompt,
            "choices": [str(word) for word in rng.choice(WORDS, size=4, replace=False)],
            "label": int(rng.integers(4)),
        }
        for prompt in prompts
    ]


def _write_jsonl(path: Path, documents: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))


_HEADER = """\
task: {0}_{1}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {0}_{1}.jsonl
    fewshot: {0}_fewshot.jsonl
test_split: test
fewshot_split: fewshot
doc_to_text: "{{{{prompt}}}}"
"""
_GENERATE = f"""\
output_type: generate_until
target_delimiter: ""
doc_to_target: "{{{{target}}}}"
generation_kwargs:
  do_sample: false
  max_gen_toks: {MAX_GEN_TOKS}
  until: ["\\n", "{EOS}"]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
_CHOOSE = """\
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: label
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
