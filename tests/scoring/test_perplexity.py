"""Log-likelihoods of a text are those of lm-eval's rolling windows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import weighted_perplexity
from lm_eval.models.huggingface import HFLM

from evomerge.scoring import sequences
from evomerge.scoring.perplexity import PerplexityScorer
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.text_benchmark import load_text
from evomerge.scoring.text_files import LONGEST
from tests.texts import sentences, write_jsonl, write_plain
from tests.tiny import TinyZoo, write_model

KEY = "text:wiki:perplexity"


def rolling(resident: ResidentModel, texts: list[str]) -> list[float]:
    """What lm-eval itself says."""
    lm = HFLM(
        pretrained=resident.model, tokenizer=resident.tokenizer, batch_size=1, max_length=LONGEST
    )
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    return lm.loglikelihood_rolling(requests, disable_tqdm=True)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
def test_the_items_of_a_text_add_up_to_lm_evals_rolling_log_likelihood(
    tmp_path: Path, architecture: str
) -> None:
    model = write_model(tmp_path / "model", seed=0, architecture=architecture)
    path = write_plain(tmp_path / "wiki.txt", sentences(60))
    resident = ResidentModel.from_folder(model, dtype=torch.float32)
    text = load_text("text:wiki", "perplexity", path, model=model)
    scores = PerplexityScorer(resident, text).score(range(text.n_items))[KEY]
    (expected,) = rolling(resident, [path.read_text()])
    assert sum(scores.values) == pytest.approx(expected, rel=1e-6)
    assert sum(scores.weights) == len(resident.tokenizer(path.read_text())["input_ids"])


def test_each_document_has_its_own_log_likelihood(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    path = write_jsonl(tmp_path / "docs.jsonl", sentences(12))
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    text = load_text("text:wiki", "perplexity", path, model=tiny_zoo.base)
    items = (7, 2, 11, 0)
    scores = PerplexityScorer(resident, text).score(items)[KEY]
    expected = rolling(resident, sentences(12))
    assert scores.items == items
    np.testing.assert_allclose(scores.values, [expected[item] for item in items], rtol=1e-6)
    pairs = list(zip(scores.values, scores.weights, strict=True))
    assert weighted_perplexity(pairs) == pytest.approx(
        np.exp(-sum(scores.values) / sum(scores.weights))
    )


def test_batches_of_any_size_say_the_same(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "docs.jsonl", sentences(12))
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float64)
    text = load_text("text:wiki", "perplexity", path, model=tiny_zoo.base)
    whole = PerplexityScorer(resident, text).score(range(12))[KEY]
    monkeypatch.setattr(sequences, "MOST_LOGITS", 1)  # every sequence by itself
    alone = PerplexityScorer(resident, text).score(range(12))[KEY]
    np.testing.assert_allclose(whole.values, alone.values, rtol=1e-12)
