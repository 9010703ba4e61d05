"""What others run: `simple_evaluate` on the same items, without its report of the environment."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evomerge.scoring.resident import ResidentModel

Rows = Mapping[int, Mapping[str, Any]]
"""The logged samples of a task by item."""


def wrap(resident: ResidentModel, batch_size: int) -> HFLM:
    """lm-eval's view of a model in memory."""
    return HFLM(pretrained=resident.model, tokenizer=resident.tokenizer, batch_size=batch_size)


def evaluate(lm: HFLM, items: Mapping[str, Sequence[int]], tasks_path: Path) -> dict[str, Rows]:
    """The samples of some items of each task; their data files are found in the work folder."""
    with (
        contextlib.chdir(tasks_path),
        contextlib.redirect_stderr(io.StringIO()),
        mock.patch("lm_eval.evaluator.add_env_info"),
    ):
        results = simple_evaluate(
            lm,
            tasks=list(items),
            task_manager=TaskManager(include_path=str(tasks_path), include_defaults=False),
            samples={task: list(own) for task, own in items.items()},
            bootstrap_iters=0,
        )
    return {task: {row["doc_id"]: row for row in rows} for task, rows in results["samples"].items()}
