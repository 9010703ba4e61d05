"""Every item's score equals its row in one lm-eval evaluation of the whole task."""

from pathlib import Path

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from tests.tiny import TinyZoo

TASKS = ("words_test", "choice_test")


def rows_of_lm_eval(
    resident: ResidentModel, task: str, tasks_path: Path, num_fewshot: int, metric: str, **options
) -> list[float]:
    lm = HFLM(pretrained=resident.model, tokenizer=resident.tokenizer, batch_size=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tasks_path)  # lm-eval's data files are relative to the working directory
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
        results = simple_evaluate(
            lm,
            tasks=[task],
            num_fewshot=num_fewshot,
            task_manager=TaskManager(include_path=str(tasks_path), include_defaults=False),
            bootstrap_iters=0,
            **options,
        )
    rows = sorted(results["samples"][task], key=lambda row: row["doc_id"])
    return [float(row[metric]) for row in rows]


@pytest.mark.parametrize("num_fewshot", [0, 2])
@pytest.mark.parametrize("task", TASKS)
def test_every_item_scores_as_in_an_evaluation_of_the_whole_task(
    tiny_zoo: TinyZoo, task: str, num_fewshot: int
) -> None:
    benchmarks = load_benchmarks(TASKS, tasks_path=tiny_zoo.tasks_path, num_fewshot=num_fewshot)
    outcomes = []
    for folder in (tiny_zoo.base, *tiny_zoo.experts.values()):
        resident = ResidentModel.from_folder(folder, dtype=torch.float32)
        benchmark = benchmarks[task]
        expected = rows_of_lm_eval(
            resident, task, tiny_zoo.tasks_path, num_fewshot, benchmark.metric
        )
        scores = Scorer(resident, benchmarks).score(task, range(benchmark.n_items))
        assert list(scores.values) == expected
        outcomes.append(scores.values)
    if num_fewshot == 0:
        assert all(0 < sum(values) < len(values) for values in outcomes)
        assert len(set(outcomes)) == 3
