"""What lm-eval itself says of every item: the oracle of the scoring tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evomerge.scoring.resident import ResidentModel


def rows_of_lm_eval(
    resident: ResidentModel,
    tasks: Sequence[str],
    tasks_path: Path,
    *,
    num_fewshot: int | None = None,
    batch_size: int = 7,
) -> Mapping[str, list[dict[str, float]]]:
    """The logged samples of one evaluation of whole tasks, by item."""
    evaluation = evaluate_by_lm_eval(
        resident, tasks, tasks_path, num_fewshot=num_fewshot, batch_size=batch_size
    )
    return {task: rows_of(evaluation, task) for task in tasks}


def rows_of(evaluation: Mapping[str, Any], task: str) -> list[dict[str, float]]:
    """The logged samples of a task, by item."""
    return sorted(evaluation["samples"][task], key=lambda row: row["doc_id"])


def evaluate_by_lm_eval(
    resident: ResidentModel,
    tasks: Sequence[str],
    tasks_path: Path,
    *,
    num_fewshot: int | None = None,
    batch_size: int = 7,
    **options: bool,
) -> Mapping[str, Any]:
    """One evaluation of whole tasks: `results` by task and `samples`."""
    lm = HFLM(pretrained=resident.model, tokenizer=resident.tokenizer, batch_size=batch_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tasks_path)  # lm-eval's data files are relative to the working directory
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
        return simple_evaluate(
            lm,
            tasks=list(tasks),
            num_fewshot=num_fewshot,
            task_manager=TaskManager(include_path=str(tasks_path), include_defaults=False),
            bootstrap_iters=0,
            **options,
        )
