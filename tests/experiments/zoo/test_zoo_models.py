"""The committed checkpoints: small, bfloat16, loadable, and alike enough to be merged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

MODELS = Path(__file__).resolve().parents[3] / "experiments" / "zoo" / "models"
NAMES = ("base", "math", "german", "lists", "multitask")
pytestmark = pytest.mark.skipif(not MODELS.exists(), reason="the zoo has not been built")


def shapes(name: str) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    with safe_open(MODELS / name / "model.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_at_most_four_megabytes(name: str) -> None:
    assert sum(path.stat().st_size for path in (MODELS / name).iterdir()) <= 4_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_has_the_shapes_of_the_base_in_bfloat16(name: str) -> None:
    assert shapes(name) == shapes("base")
    assert {dtype for _, dtype in shapes(name).values()} == {torch.bfloat16}
    assert json.loads((MODELS / name / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_has_the_tokenizer_of_the_base(name: str) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (MODELS / name / file).read_bytes() == (MODELS / "base" / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "prompt", "target"),
    [
        ("math", "en: reverse three nine =", "nine three"),
        ("lists", "rotate f w e =", "w e f"),
    ],
)
def test_an_expert_answers_an_easy_question_of_its_own(name: str, prompt: str, target: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(MODELS / name, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    assert model.dtype == torch.bfloat16
    assert tokenizer.is_fast
    inputs = tokenizer(prompt, return_tensors="pt").input_ids
    outputs = model.generate(inputs, max_new_tokens=10)
    answer = tokenizer.decode(outputs[0, inputs.shape[1] :], skip_special_tokens=True)
    assert answer.strip() == target
