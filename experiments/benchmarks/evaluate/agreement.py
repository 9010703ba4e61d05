"""Items whose results equal those of `simple_evaluate`, in both modes."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval_side import Rows, evaluate, wrap
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
)

from evomerge.records import TaskScores
from evomerge.scoring.answers import digest_of
from evomerge.scoring.benchmark import Benchmark, load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer

MODES: tuple[Mode, ...] = ("exact", "packed")
BATCH_SIZE = 32
METRICS = {
    "multiple_choice": ("acc", "log_likelihood", "agreement"),
    "generate_until": ("exact_match", "output_length", "agreement"),
}


def compare(
    name: str, resident: ResidentModel, tasks: Sequence[str], tasks_path: Path, n_items: int
) -> Iterator[dict[str, object]]:
    """A row for each task and mode: items that agree, and how far likelihoods are apart."""
    found = load_benchmarks(tasks, tasks_path=tasks_path)
    metrics = {task: METRICS[own.output_type] for task, own in found.items()}
    benchmarks = load_benchmarks(tasks, tasks_path=tasks_path, metrics=metrics)
    scorers = {
        mode: Scorer(resident, benchmarks, batch_size=BATCH_SIZE, mode=mode) for mode in MODES
    }
    for task, benchmark in benchmarks.items():
        items = range(min(n_items, benchmark.n_items))
        rows = evaluate(wrap(resident, BATCH_SIZE), {task: items}, tasks_path)[task]
        for mode, scorer in scorers.items():
            scores = scorer.score(task, items)
            yield {
                "model": name,
                "task": task,
                "mode": mode,
                "items": len(items),
                **_agreement(benchmark, scores, rows),
            }


def _agreement(
    benchmark: Benchmark, scores: Mapping[str, TaskScores], rows: Rows
) -> dict[str, object]:
    name = benchmark.name
    own = {metric.name: scores[metric.key] for metric in benchmark.metrics}
    first = own[benchmark.metric]
    agreeing = [
        value == float(rows[item][benchmark.metric]) and answer == _answer(benchmark, rows[item])
        for item, value, answer in zip(
            first.items, first.values, scores[f"{name}:agreement"].values, strict=True
        )
    ]
    found = {"agreeing_items": sum(agreeing)}
    if benchmark.output_type == "multiple_choice":
        ours = own["log_likelihood"]
        theirs = [_share_of_right(benchmark, item, rows[item]) for item in ours.items]
        found["likelihoods_apart"] = float(np.abs(np.subtract(ours.values, theirs)).max())
    return found


def _answer(benchmark: Benchmark, row: Mapping[str, Any]) -> float:
    if benchmark.output_type == "multiple_choice":
        return float(np.argmax(_likelihoods(row)))
    return float(digest_of(row["resps"][0][0]))


def _likelihoods(row: Mapping[str, Any]) -> np.ndarray:
    return np.array([float(own[0][0]) for own in row["resps"]])


def _share_of_right(benchmark: Benchmark, item: int, row: Mapping[str, Any]) -> float:
    right = benchmark.task.doc_to_target(benchmark.documents[item])
    values = _likelihoods(row)
    return float(values[right] - np.logaddexp.reduce(values))


def random_models(tokenizer: Path) -> Iterator[tuple[str, ResidentModel]]:
    """Tiny random models of several architectures, two with short sliding windows."""
    with tempfile.TemporaryDirectory() as folder:
        for name, config in _configs().items():
            path = Path(folder) / name
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(path)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (path / file).write_bytes((tokenizer / file).read_bytes())
            yield name, ResidentModel.from_folder(path, dtype=torch.float32)


def _configs() -> dict[str, PretrainedConfig]:
    ids = {"vocab_size": 384, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        **ids,
    }
    grouped = {**shape, "num_key_value_heads": 2}
    return {
        "llama": LlamaConfig(**grouped),
        "gpt2": GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3, **ids
        ),
        "qwen3": Qwen3Config(**grouped, head_dim=8),
        "gemma3, window 16": Gemma3TextConfig(**grouped, head_dim=8, sliding_window=16),
        "mistral, window 16": MistralConfig(**grouped, sliding_window=16),
        "gpt_neox": GPTNeoXConfig(**shape),
    }
