"""Every output type and metric as `simple_evaluate` gives it, on models of many architectures."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from evomerge.records import TaskScores
from evomerge.scoring.answers import digest_of
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer
from tests.families import FAMILIES
from tests.scoring.lm_eval_rows import rows_of_lm_eval
from tests.tiny import write_tasks, write_tokenizer

TASKS = ("choice_test", "words_test")
METRICS = {
    "choice_test": ["acc", "acc_norm", "log_likelihood", "agreement"],
    "words_test": ["exact_match", "output_length", "agreement", "log_likelihood"],
}
N_ITEMS = 8
WINDOW = 8
"""Of sliding attention: shorter than most prompts."""

SLIDING = ("gemma2", "gemma3", "mistral")
QUICK = ("llama", "gemma3")
SLOW = tuple(name for name in FAMILIES if name not in (*QUICK, "t5"))


@pytest.fixture(scope="module")
def tasks_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"), n_test=N_ITEMS)


def resident_of(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> ResidentModel:
    """A random model of a family whose answers vary from prompt to prompt."""
    tokenizer = write_tokenizer(folder)
    config = copy.deepcopy(FAMILIES[family])
    config.initializer_range = 0.4
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    config.bos_token_id = None
    if family == "gpt2":
        config.n_positions = 64
    if family in SLIDING:
        config.sliding_window, config.tie_word_embeddings = WINDOW, False
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return ResidentModel.from_folder(folder, dtype=dtype)


def likelihoods(row: Mapping[str, Any]) -> np.ndarray:
    """Of the choices, as lm-eval logged them."""
    return np.array([float(response[0][0]) for response in row["resps"]])


def assert_choices_agree(
    scores: Mapping[str, TaskScores], rows: list[dict[str, Any]], error: float
) -> None:
    for metric in ("acc", "acc_norm"):
        assert list(scores[f"choice_test:{metric}"].values) == [row[metric] for row in rows]
    own = [likelihoods(row) for row in rows]
    answers = [float(values.argmax()) for values in own]
    assert list(scores["choice_test:agreement"].values) == answers
    right = [row["doc"]["label"] for row in rows]
    shares = [v[r] - np.logaddexp.reduce(v) for v, r in zip(own, right, strict=True)]
    np.testing.assert_allclose(scores["choice_test:log_likelihood"].values, shares, atol=error)


def assert_texts_agree(scores: Mapping[str, TaskScores], rows: list[dict[str, Any]]) -> None:
    assert list(scores["words_test:exact_match"].values) == [row["exact_match"] for row in rows]
    texts = [row["resps"][0][0] for row in rows]
    assert list(scores["words_test:agreement"].values) == [digest_of(text) for text in texts]
    assert len(set(texts)) > 2  # else agreement would say little


def assert_all_agrees(
    resident: ResidentModel, tasks_path: Path, modes: Mapping[Mode, float]
) -> None:
    """Both tasks, with examples before the questions, item by item."""
    rows = rows_of_lm_eval(resident, TASKS, tasks_path, num_fewshot=1, batch_size=5)
    benchmarks = load_benchmarks(TASKS, tasks_path=tasks_path, num_fewshot=1, metrics=METRICS)
    lengths = []
    for mode, error in modes.items():
        scorer = Scorer(resident, benchmarks, batch_size=5, mode=mode)
        scores = scorer.score("choice_test", range(N_ITEMS))
        assert_choices_agree(scores, rows["choice_test"], error)
        texts = scorer.score("words_test", range(N_ITEMS))
        assert_texts_agree(texts, rows["words_test"])
        lengths.append(texts["words_test:output_length"].values)
        np.testing.assert_allclose(
            texts["words_test:log_likelihood"].values,
            Scorer(resident, benchmarks, batch_size=1, mode="exact")
            .score("words_test", range(N_ITEMS))["words_test:log_likelihood"]
            .values,
            atol=1e-4 if resident.dtype == torch.float32 else 0.2,
        )
    assert len(set(lengths)) == 1


@pytest.mark.parametrize(
    "family", [*QUICK, *(pytest.param(f, marks=pytest.mark.slow) for f in SLOW)]
)
def test_every_metric_agrees_on_every_architecture(
    tmp_path: Path, tasks_path: Path, family: str
) -> None:
    resident = resident_of(tmp_path, family)
    assert_all_agrees(resident, tasks_path, {"exact": 0.0, "packed": 1e-4})


def test_exact_mode_is_bit_equal_in_bfloat16_too(tmp_path: Path, tasks_path: Path) -> None:
    resident = resident_of(tmp_path, "llama", torch.bfloat16)
    assert_all_agrees(resident, tasks_path, {"exact": 0.0})


@pytest.mark.parametrize(
    ("family", "way"),
    [("llama", "tree"), ("gemma3", "cache"), ("mistral", "cache"), ("mamba", "alone")],
)
def test_each_model_shares_what_it_can(
    tmp_path: Path, tasks_path: Path, family: str, way: str
) -> None:
    resident = resident_of(tmp_path, family)
    benchmarks = load_benchmarks(TASKS[:1], tasks_path=tasks_path)
    scorer = Scorer(resident, benchmarks)
    scorer.score("choice_test", range(N_ITEMS))
    assert scorer._tasks["choice_test"]._fast._run.way == way
