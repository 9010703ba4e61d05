"""Laws of scoring: what is scored beside an item, or before it, does not change its scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evomerge.records import Permissions
from evomerge.scoring.benchmark import Benchmark, load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer
from evomerge.scoring.scorers import tokenised
from tests.tiny import TinyZoo

METRICS = {
    "choice_test": ("acc", "acc_norm", "log_likelihood", "agreement"),
    "words_test": ("exact_match", "output_length", "agreement", "log_likelihood"),
}
MODES: tuple[Mode, ...] = ("packed", "exact")


@pytest.fixture(scope="module")
def resident(tiny_zoo: TinyZoo) -> ResidentModel:
    return ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)


def load(tasks_path: Path, task: str, *metrics: str, num_fewshot: int = 0) -> dict[str, Benchmark]:
    return load_benchmarks(
        [task], tasks_path=tasks_path, metrics={task: metrics}, num_fewshot=num_fewshot
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", METRICS)
def test_all_metrics_at_once_equal_each_alone(
    tiny_zoo: TinyZoo, resident: ResidentModel, task: str, mode: Mode
) -> None:
    benchmark = load(tiny_zoo.tasks_path, task, *METRICS[task])[task]
    together = Scorer(resident, {task: benchmark}, mode=mode).score(task, range(20))
    assert list(together) == [f"{task}:{metric}" for metric in METRICS[task]]
    for metric in benchmark.metrics:
        alone = Scorer(resident, {task: replace(benchmark, metrics=(metric,))}, mode=mode)
        values = alone.score(task, range(20))[metric.key].values
        np.testing.assert_allclose(values, together[metric.key].values, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", METRICS)
def test_order_company_and_repetition_do_not_matter(
    tiny_zoo: TinyZoo, resident: ResidentModel, task: str, mode: Mode
) -> None:
    benchmarks = load(tiny_zoo.tasks_path, task, *METRICS[task], num_fewshot=2)
    scorer = Scorer(resident, benchmarks, mode=mode)
    whole = scorer.score(task, range(30))
    some = [17, 3, 3, 29, 0, 17]
    for key, scores in scorer.score(task, some).items():
        assert scores.items == tuple(some)
        expected = [whole[key].values[item] for item in some]
        np.testing.assert_allclose(scores.values, expected, rtol=0.0, atol=1e-4)


def test_a_header_that_all_prompts_share_changes_nothing(
    tmp_path: Path, tiny_zoo: TinyZoo, resident: ResidentModel
) -> None:
    for source in tiny_zoo.tasks_path.iterdir():
        text = source.read_text()
        if source.suffix == ".yaml":
            text = text.replace("test_split", "fewshot_config: {sampler: first_n}\ntest_split")
        (tmp_path / source.name).write_text(text)
    for task, metrics in METRICS.items():
        benchmarks = load(tmp_path, task, *metrics, num_fewshot=3)
        packed, exact = (
            Scorer(resident, benchmarks, mode=mode).score(task, range(30)) for mode in MODES
        )
        for key, scores in packed.items():
            error = 1e-4 if key.endswith("log_likelihood") else 0.0
            np.testing.assert_allclose(scores.values, exact[key].values, rtol=0.0, atol=error)


def test_workers_tokenise_nothing(tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = tuple(METRICS)
    benchmarks = load_benchmarks(tasks, tasks_path=tiny_zoo.tasks_path, metrics=METRICS)
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    expected = {task: Scorer(resident, benchmarks).score(task, range(20)) for task in tasks}
    ready = tokenised(benchmarks, tiny_zoo.base)

    def refuse(text: object, *_: object, **__: object) -> None:
        if "say" in str(text):
            raise AssertionError(f"tokenised {text!r}")

    for name in ("__call__", "encode", "_encode_plus"):
        monkeypatch.setattr(type(resident.tokenizer), name, refuse)
    for mode in MODES:
        scorer = Scorer(resident, ready, mode=mode)
        scores = scorer.score("choice_test", range(20))
        assert scores["choice_test:acc"] == expected["choice_test"]["choice_test:acc"]
    monkeypatch.undo()
    assert Scorer(resident, ready).score("words_test", range(20)) == expected["words_test"]


@pytest.mark.parametrize("mode", MODES)
def test_lengths_are_of_the_tokens_before_the_end(
    tiny_zoo: TinyZoo, resident: ResidentModel, mode: Mode
) -> None:
    benchmarks = load(tiny_zoo.tasks_path, "words_test", "output_length")
    benchmark = benchmarks["words_test"]
    lengths = Scorer(resident, benchmarks, mode=mode).score("words_test", range(20))
    tokenizer = resident.tokenizer
    for item, length in enumerate(lengths["words_test:output_length"].values):
        prompt = torch.tensor([tokenizer.encode(benchmark.requests[item][0].args[0])])
        said = resident.model.generate(prompt, max_new_tokens=6, do_sample=False)[0]
        answer = said[prompt.shape[1] :].tolist()
        text = tokenizer.decode(answer, skip_special_tokens=True).split("\n")[0]
        assert len(tokenizer.decode(answer[: int(length)], skip_special_tokens=True)) >= len(text)
        shorter = answer[: max(0, int(length) - 1)]
        assert not text or len(tokenizer.decode(shorter, skip_special_tokens=True)) < len(text)


def test_a_task_that_judges_by_its_own_code_is_judged_by_it(
    tmp_path: Path, tiny_zoo: TinyZoo, resident: ResidentModel
) -> None:
    for source in tiny_zoo.tasks_path.glob("words_*"):
        text = source.read_text()
        if source.suffix == ".yaml":
            text += "process_results: !function judging.judged\n"
        (tmp_path / source.name).write_text(text)
    (tmp_path / "judging.py").write_text(
        "def judged(document, results):\n"
        '    return {"exact_match": results[0] != document["target"]}\n'
    )
    own = load_benchmarks(
        ["words_test"], tasks_path=tmp_path, permissions=Permissions(task_code=True)
    )
    theirs = load(tiny_zoo.tasks_path, "words_test", "exact_match")
    judged = Scorer(resident, own).score("words_test", range(20))["words_test"].values
    usual = Scorer(resident, theirs).score("words_test", range(20))["words_test:exact_match"].values
    assert list(judged) == [1.0 - value for value in usual]
    assert 0.0 < sum(judged) < 20.0
