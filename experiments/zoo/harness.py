"""Run lm-eval on the zoo's tasks, the way the published table was measured."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.zoo.heldout import Split
from experiments.zoo.tasks import TASKS


def evaluate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    split: Split,
    num_fewshot: int = 0,
    limit: int | None = None,
) -> dict[str, list[int]]:
    """Return 1 for right and 0 for wrong on every item of every task, in the order of the file."""
    names = [f"{task.name}_{split}" for task in TASKS]
    # The data files in the YAML are relative to its folder.
    with _working_directory(folder):
        found = lm_eval.simple_evaluate(
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=128),
            tasks=names,
            task_manager=TaskManager(include_path=".", include_defaults=False),
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=0,
        )
    return {task.name: _item_results(found["samples"][f"{task.name}_{split}"]) for task in TASKS}


def _item_results(samples: list[dict[str, float]]) -> list[int]:
    ordered = sorted(samples, key=lambda sample: sample["doc_id"])
    return [int(sample.get("exact_match", sample.get("acc", -1))) for sample in ordered]


@contextlib.contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
