"""Prompts in a chat template, and their scores, against lm-eval itself."""

import shutil
from pathlib import Path

import pytest
import torch

from evomerge.errors import ScoringError
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from tests.scoring.lm_eval_rows import evaluate_by_lm_eval, rows_of
from tests.tiny import TinyZoo

TASKS = {"words_test": "exact_match", "choice_test": "acc"}
PLAIN = (
    "{% for m in messages %}{{ m['role'][0] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
WITHOUT_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"


@pytest.fixture
def resident(tiny_zoo: TinyZoo) -> ResidentModel:
    return ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)


@pytest.fixture
def tasks(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the tasks, one of which says something first."""
    path = Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))
    with (path / "choice_test.yaml").open("a") as file:
        file.write("description: Choose a word.\n")
    return path


@pytest.mark.parametrize(("template", "num_fewshot"), [(PLAIN, 0), (WITHOUT_SYSTEM + PLAIN, 2)])
def test_chats_score_as_in_an_evaluation_with_the_template(
    resident: ResidentModel, tasks: Path, template: str, num_fewshot: int
) -> None:
    resident.tokenizer.chat_template = template
    evaluation = evaluate_by_lm_eval(
        resident, TASKS, tasks, num_fewshot=num_fewshot, apply_chat_template=True
    )
    benchmarks = load_benchmarks(
        TASKS, tasks_path=tasks, num_fewshot=num_fewshot, chat=resident.tokenizer
    )
    scorer = Scorer(resident, benchmarks)
    for task, metric in TASKS.items():
        rows = rows_of(evaluation, task)
        assert [request.args for request in benchmarks[task].requests[5]] == rows[5]["arguments"]
        assert benchmarks[task].requests[5][0].args[0].count("u: ") == 1 + num_fewshot
        scores = scorer.score(task, range(60))[task]
        assert list(scores.values) == [row[metric] for row in rows]


def test_a_tokenizer_without_a_template_cannot_chat(resident: ResidentModel, tasks: Path) -> None:
    with pytest.raises(ScoringError, match=r"tokenizer has no chat template.*leave it out"):
        load_benchmarks(["words_test"], tasks_path=tasks, chat=resident.tokenizer)
