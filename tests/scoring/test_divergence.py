"""Laws of the divergence from a reference, and its value by brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.errors import ScoringError
from evomerge.scoring.divergence import DivergenceScorer, divergence
from evomerge.scoring.kept_logits import read_logits, write_logits
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorers import Scorers
from evomerge.scoring.text_benchmark import TextBenchmark, load_text
from tests.texts import sentences, write_plain
from tests.tiny import TinyZoo

KEY = "text:p:kl"
ITEMS = tuple(range(9))
rows = st.lists(st.floats(-30, 30), min_size=5, max_size=5).map(torch.tensor)


@pytest.fixture
def prompts(tmp_path: Path, tiny_zoo: TinyZoo) -> TextBenchmark:
    path = write_plain(tmp_path / "p.txt", sentences(9))
    return load_text("text:p", "kl", path, model=tiny_zoo.base)


def weights_of(resident: ResidentModel, folder: Path) -> None:
    """Make the resident model the one of another folder."""
    other = ResidentModel.from_folder(folder, dtype=resident.dtype)
    for name, live in resident.tensors.items():
        live.copy_(other.tensors[name])


def brute_force(reference: Path, model: Path, prompt: str) -> float:
    """KL(p ‖ q) by transformers, one prompt at a time."""
    tokens = AutoTokenizer.from_pretrained(model)(prompt, return_tensors="pt")["input_ids"]
    log_p, log_q = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64)(tokens)
        .logits[0, -1]
        .log_softmax(-1)
        for path in (reference, model)
    )
    return float((log_p.exp() * (log_p - log_q)).sum())


def test_the_divergence_is_that_of_brute_force(tiny_zoo: TinyZoo, prompts: TextBenchmark) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float64)
    scorer = DivergenceScorer(resident, prompts)
    scorer.learn(ITEMS)
    weights_of(resident, tiny_zoo.experts["red"])
    scores = scorer.score(ITEMS)[KEY]
    with torch.inference_mode():
        expected = [
            brute_force(tiny_zoo.base, tiny_zoo.experts["red"], prompt) for prompt in sentences(9)
        ]
    np.testing.assert_allclose(scores.values, expected, rtol=1e-9)
    assert min(scores.values) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_is_at_nothing_from_itself(
    tiny_zoo: TinyZoo, prompts: TextBenchmark, dtype: torch.dtype
) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=dtype)
    scorer = DivergenceScorer(resident, prompts)
    scorer.learn(ITEMS)
    assert max(scorer.score(ITEMS)[KEY].values) < 1e-9


@given(rows, rows)
def test_no_divergence_is_negative(p: torch.Tensor, q: torch.Tensor) -> None:
    assert divergence(p, q) >= 0.0
    assert divergence(p, p) == 0.0
    assert divergence(p, p + 3.0) == pytest.approx(0.0, abs=1e-6)


def test_what_is_learned_of_a_prompt_does_not_depend_on_the_others(
    tiny_zoo: TinyZoo, prompts: TextBenchmark
) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    at_once, one_by_one = (DivergenceScorer(resident, prompts) for _ in range(2))
    at_once.learn(ITEMS)
    for item in reversed(ITEMS):
        one_by_one.learn([item])
    assert all(torch.equal(at_once.reference[i], one_by_one.reference[i]) for i in ITEMS)
    assert one_by_one.missing((3, 4)) == ()


def test_logits_come_back_from_their_file_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "made" / "kept.safetensors"
    assert read_logits(path) == {}
    logits = {4: torch.randn(7), 1: torch.randn(7)}
    write_logits(path, logits)
    found = read_logits(path)
    assert found.keys() == logits.keys()
    assert all(torch.equal(found[item], logits[item]) for item in logits)
    assert [file.name for file in path.parent.iterdir()] == ["kept.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "text", "changed"])
def test_a_damaged_file_of_logits_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "kept.safetensors"
    write_logits(path, {0: torch.ones(7)})
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-9], "text": b"logits", "changed": whole[:-1] + b"\0"}[damage])
    assert read_logits(path) == {}
    assert "holds no logits that can be read" in caplog.text


def test_logits_that_cannot_be_kept_are_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    write_logits(tmp_path / "file" / "kept.safetensors", {0: torch.ones(3)})
    assert "are not kept in" in caplog.text


def test_models_of_different_vocabularies_have_no_divergence() -> None:
    with pytest.raises(ScoringError, match="has 5 tokens to expect, and its reference 7"):
        divergence(torch.ones(7), torch.ones(5))


def test_an_item_that_does_not_exist_is_named(tiny_zoo: TinyZoo, prompts: TextBenchmark) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    scorers = Scorers(resident, {"text:p": prompts})
    with pytest.raises(ScoringError, match="'text:p' has items 0 to 8, not 9"):
        scorers.score({"text:p": (0, 9)})
