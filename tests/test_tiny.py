import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import TinyZoo, greedy_answers, write_model


def test_the_tiny_models_have_mixed_outcomes_and_differ(tiny_zoo: TinyZoo) -> None:
    lines = (tiny_zoo.tasks_path / "words_test.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    prompts = [document["prompt"] for document in documents]
    right = []
    for model in (tiny_zoo.base, *tiny_zoo.experts.values()):
        answers = greedy_answers(model, prompts)
        right.append([a == d["target"] for a, d in zip(answers, documents, strict=True)])
    assert all(0.15 < sum(row) / len(row) < 0.85 for row in right)
    assert len({tuple(row) for row in right}) == 3


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_tiny_model_loads_in_its_own_dtype(tmp_path: Path, architecture: str, tied: bool) -> None:
    path = write_model(tmp_path / "model", seed=1, architecture=architecture, tied=tied)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.dtype == torch.bfloat16
    assert len(AutoTokenizer.from_pretrained(path)) == model.config.vocab_size
    assert {t.dtype for t in load_file(path / "model.safetensors").values()} == {torch.bfloat16}
