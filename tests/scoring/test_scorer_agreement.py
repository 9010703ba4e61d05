"""Every item's score equals its row in one lm-eval evaluation of the whole task."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from tests.scoring.lm_eval_rows import rows_of_lm_eval
from tests.tiny import TinyZoo, write_model, write_tasks

TASKS = ("words_test", "choice_test")
METRICS = {"words_test": "exact_match", "choice_test": "acc"}


def assert_every_item_agrees(
    folder: Path, tasks_path: Path, *, num_fewshot: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[float, ...]]:
    resident = ResidentModel.from_folder(folder, dtype=dtype)
    # bfloat16 rounds so much that lm-eval's own results depend on its batches.
    batch_size = 7 if dtype == torch.float32 else 1
    rows = rows_of_lm_eval(
        resident, TASKS, tasks_path, num_fewshot=num_fewshot, batch_size=batch_size
    )
    benchmarks = load_benchmarks(TASKS, tasks_path=tasks_path, num_fewshot=num_fewshot)
    scorer = Scorer(resident, benchmarks, batch_size=batch_size)
    scores = {}
    for task in TASKS:
        expected = [float(row[METRICS[task]]) for row in rows[task]]
        assert [r.args for r in benchmarks[task].requests[5]] == rows[task][5]["arguments"]
        scores[task] = scorer.score(task, range(benchmarks[task].n_items))[task].values
        assert list(scores[task]) == expected
    return scores


@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_every_item_scores_as_in_an_evaluation_of_the_whole_task(
    tiny_zoo: TinyZoo, num_fewshot: int
) -> None:
    outcomes = [
        assert_every_item_agrees(folder, tiny_zoo.tasks_path, num_fewshot=num_fewshot)
        for folder in (tiny_zoo.base, *tiny_zoo.experts.values())
    ]
    for task in TASKS if num_fewshot == 0 else ():
        assert all(0 < sum(scores[task]) < len(scores[task]) for scores in outcomes)
        assert len({scores[task] for scores in outcomes}) == 3


@pytest.mark.parametrize("architecture", ["qwen2", "gpt_neox"])
def test_other_architectures_agree_too(tmp_path: Path, architecture: str) -> None:
    model = write_model(tmp_path / "model", seed=4, architecture=architecture, tied=True)
    tasks_path = write_tasks(tmp_path / "tasks", answering=[model], n_test=30)
    scores = assert_every_item_agrees(model, tasks_path, num_fewshot=1)
    assert 0 < sum(scores["choice_test"]) < 30


def test_in_bfloat16_every_item_agrees_with_lm_eval_at_batch_size_1(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    models = [tiny_zoo.base, *tiny_zoo.experts.values()]
    tasks_path = write_tasks(tmp_path, answering=models, n_test=20)
    assert_every_item_agrees(tiny_zoo.base, tasks_path, dtype=torch.bfloat16)


def test_stripped_answers_agree_too(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    text = (tiny_zoo.tasks_path / "words_test.yaml").read_text()
    stripped = (
        "filter_list: [{name: none, filter: [{function: remove_whitespace}, "
        "{function: take_first}]}]\n"
    )
    for source in tiny_zoo.tasks_path.glob("*_*.*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    text = text.replace("{{target}}", "{{target.strip()}}").replace('""', '" "')
    (tmp_path / "words_test.yaml").write_text(text + stripped)
    scores = assert_every_item_agrees(tiny_zoo.base, tmp_path)
    assert 0 < sum(scores["words_test"]) < len(scores["words_test"])


def test_random_subsets_in_any_order_score_as_the_whole_task(tiny_zoo: TinyZoo) -> None:
    benchmarks = load_benchmarks(TASKS, tasks_path=tiny_zoo.tasks_path, num_fewshot=2)
    scorer = Scorer(ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32), benchmarks)
    rng = np.random.default_rng(0)
    for task in TASKS:
        whole = scorer.score(task, range(60))[task].values
        for _ in range(4):
            items = rng.choice(60, 13, replace=False).tolist()
            scores = scorer.score(task, items)[task]
            assert scores.items == tuple(items)
            assert scores.values == tuple(whole[item] for item in items)
            assert scorer.score(task, items)[task] == scores


def test_only_what_is_within_rounding_or_open_goes_through_lm_evals_model(
    tiny_zoo: TinyZoo,
) -> None:
    benchmarks = load_benchmarks(TASKS, tasks_path=tiny_zoo.tasks_path)
    scorer = Scorer(ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32), benchmarks)
    with torch.inference_mode():
        decided = {task: scorer._tasks[task]._fast.decide(range(60)) for task in TASKS}
    assert len(decided["choice_test"]) == 60
    assert len(decided["words_test"]) >= 54


@pytest.mark.parametrize(("task", "metric"), [("choice_test", "acc_norm"), ("words_test", "")])
def test_a_new_merge_in_the_same_model_gets_its_own_scores(
    tiny_zoo: TinyZoo, task: str, metric: str
) -> None:
    benchmarks = load_benchmarks(
        [task], tasks_path=tiny_zoo.tasks_path, metrics={task: [metric or None]}
    )
    residents = {
        name: ResidentModel.from_folder(folder, dtype=torch.float32)
        for name, folder in {"base": tiny_zoo.base, **tiny_zoo.experts}.items()
    }
    merged = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    scorer = Scorer(merged, benchmarks)
    for resident in (*residents.values(), residents["base"]):
        for name, tensor in merged.tensors.items():
            tensor.copy_(resident.tensors[name])
        fresh = Scorer(resident, benchmarks)
        assert scorer.score(task, range(60)) == fresh.score(task, range(60))
