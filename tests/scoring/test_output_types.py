"""Tasks about likelihoods, item by item and as a whole, against lm-eval itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.registry import get_aggregation

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer
from tests.scoring.lm_eval_rows import evaluate_by_lm_eval, rows_of
from tests.tiny import TinyZoo

METRICS = {
    "guess": ["acc", "perplexity"],
    "read": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
}
_TASK = """\
task: {}
dataset_path: json
dataset_kwargs:
  data_files:
    test: texts.jsonl
test_split: test
output_type: {}
doc_to_text: "{}"
doc_to_target: "{}"
metric_list: [{}]
"""


@pytest.fixture(scope="module")
def tasks_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of other lengths, some of them longer than the model's window of 256 tokens."""
    path = tmp_path_factory.mktemp("likelihoods")
    words = ("baba deku fiba\n", "lame sato gogo ", "nopi 3 ")
    texts = [(words[i % 3] * (1 + (7 * i) % 11) * (9 if i == 4 else 1)).strip() for i in range(17)]
    documents = [
        {"text": text, "next": ("ba", "de3", "lame")[i % 3]} for i, text in enumerate(texts)
    ]
    (path / "texts.jsonl").write_text("".join(f"{json.dumps(own)}\n" for own in documents))
    forms = {
        "guess": ("loglikelihood", "{{text}}", "{{next}}"),
        "read": ("loglikelihood_rolling", "", "{{text}}"),
    }
    for name, form in forms.items():
        listed = ", ".join(f"{{metric: {metric}}}" for metric in METRICS[name])
        (path / f"{name}.yaml").write_text(_TASK.format(name, *form, listed))
    return path


@pytest.fixture(scope="module")
def resident(tiny_zoo: TinyZoo) -> ResidentModel:
    return ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)


@pytest.mark.parametrize("mode", ["packed", "exact"])
@pytest.mark.parametrize("task", METRICS)
def test_likelihood_tasks_score_as_in_an_evaluation_of_the_whole_task(
    resident: ResidentModel, tasks_path: Path, task: str, mode: Mode
) -> None:
    evaluation = evaluate_by_lm_eval(resident, [task], tasks_path)
    metrics = {task: METRICS[task]}
    benchmark = load_benchmarks([task], tasks_path=tasks_path, metrics=metrics)[task]
    scores = Scorer(resident, {task: benchmark}, batch_size=7, mode=mode).score(task, range(17))
    for metric in benchmark.metrics:
        found = scores[metric.key]
        own = list(zip(found.values, found.weights, strict=True) if found.weights else found.values)
        rows = [row[metric.name] for row in rows_of(evaluation, task)]
        np.testing.assert_allclose(own, rows, rtol=0.0 if mode == "exact" else 1e-5)
        whole = get_aggregation(metric.measure.aggregation)(own)
        assert whole == pytest.approx(evaluation["results"][task][f"{metric.name},none"], rel=1e-5)
    assert [metric.measure.higher_is_better for metric in benchmark.metrics] == [
        metric == "acc" for metric in METRICS[task]
    ]


def test_a_perplexity_carries_the_words_that_each_likelihood_is_of(
    resident: ResidentModel, tasks_path: Path
) -> None:
    scorer = Scorer(resident, load_benchmarks(["read"], tasks_path=tasks_path))
    scores = scorer.score("read", [5, 0, 5])["read"]
    documents = [json.loads(line)["text"] for line in (tasks_path / "texts.jsonl").open()]
    assert scores.weights == tuple(len(documents[item].split()) for item in (5, 0, 5))
    assert scores.values[0] == scores.values[2] < 0.0
    assert math.exp(-sum(scores.values) / sum(scores.weights)) > 1.0
