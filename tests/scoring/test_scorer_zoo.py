"""The zoo's trained models, whose answers are right, nearly right and wrong."""

from pathlib import Path

import pytest
import torch

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Mode, Scorer
from tests.scoring.lm_eval_rows import rows_of_lm_eval

ZOO = Path(__file__).parents[2] / "experiments" / "zoo"
TASKS = ("math_de_test", "lists_test", "say_english_test", "german_test")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["packed", "exact"])
@pytest.mark.parametrize("model", ["base", "math", "german"])
def test_every_item_of_the_zoo_scores_as_lm_eval_scores_it(model: str, mode: Mode) -> None:
    resident = ResidentModel.from_folder(ZOO / "models" / model, dtype=torch.float32)
    benchmarks = load_benchmarks(TASKS, tasks_path=ZOO / "tasks")
    scorer = Scorer(resident, benchmarks, mode=mode)
    rows = rows_of_lm_eval(resident, TASKS, ZOO / "tasks", batch_size=32)
    for task, benchmark in benchmarks.items():
        expected = [float(row[benchmark.metric]) for row in rows[task]]
        assert list(scorer.score(task, range(benchmark.n_items))[task].values) == expected
