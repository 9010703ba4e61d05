"""The lm-eval commands that score an exported candidate as its run did."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from evomerge.config.experiment import Objective
from evomerge.records import ItemScores, Permissions, Phase, Result, measure_key
from evomerge.run.plan import Items, Plan
from evomerge.scoring.catalogue import Catalogue, LocalGroup
from evomerge.scoring.permissions import needed
from evomerge.scoring.reproduce import evaluate_command, write_portable_tasks
from evomerge.scoring.task_files import LocalTask

TASKS_NAME = "lm_eval_tasks"
"""Folder of the run directory with tasks that `lm_eval` can run from anywhere."""


@dataclass(frozen=True)
class Asking:
    """How a task is asked: those that are asked alike are scored by one command.

    `permissions` are what lm-eval wants confirmed; None examples are left to lm-eval.
    """

    num_fewshot: int | None
    is_whole: bool
    chat_template: bool
    permissions: Permissions


def reproducing_commands(
    plan: Plan, run_dir: Path, out_dir: Path, result: Result | None
) -> Iterator[str]:
    """The commands that score the exported folder as the run did, test items first.

    Tasks are scored together where they are asked alike. A part of a few-shot task is left out:
    lm-eval draws other examples for it than for the whole. A part of a group is, too, for lm-eval
    has no way to name it.

    Args:
        plan: of the run.
        run_dir: where the tasks are written in a form that lm-eval can read from anywhere.
        out_dir: the exported folder.
        result: of the search, which says on what items the candidate was scored.
    """
    tasks_path = plan.experiment.tasks_path
    include_path = None
    if tasks_path is not None:
        include_path = run_dir.resolve() / TASKS_NAME
        names = [task for items in plan.items.values() for task in items]
        write_portable_tasks(names, tasks_path=tasks_path, out_dir=include_path)
    catalogue = Catalogue(tasks_path)
    for phase in reversed(get_args(Phase)):
        for asking, items in _alike(plan, phase, catalogue, result).items():
            command = evaluate_command(
                out_dir,
                list(items),
                dtype=plan.dtype,
                include_path=include_path,
                batch_size=plan.experiment.scoring.batch_size,
                num_fewshot=asking.num_fewshot,
                items=None if asking.is_whole else items,
                chat_template=asking.chat_template,
                permissions=asking.permissions,
            )
            yield shlex.join(command)


def _alike(
    plan: Plan, phase: Phase, catalogue: Catalogue, result: Result | None
) -> dict[Asking, dict[str, tuple[int, ...]]]:
    """The tasks of a phase that lm-eval can score so, and on what items, by how they are asked."""
    alike: dict[Asking, dict[str, tuple[int, ...]]] = {}
    for objective in plan.experiment.objectives:
        task = objective.benchmark(phase)
        items = _items(plan, phase, objective, result)
        if objective.task is None or task is None or not items:
            continue
        found = catalogue.read(task)
        is_whole = phase == "test" and task == objective.test
        asking = _asking(found, objective, is_whole)
        if is_whole or (asking.num_fewshot == 0 and not isinstance(found, LocalGroup)):
            alike.setdefault(asking, {})[task] = items
    return alike


def _items(
    plan: Plan, phase: Phase, objective: Objective, result: Result | None
) -> tuple[int, ...]:
    """The items that the candidate was scored on, ascending as lm-eval wants them."""
    task = objective.benchmark(phase)
    if task is None:
        return ()
    if phase != "search":
        return _sorted(plan.items[phase], task)
    scored = result.tasks if isinstance(result, ItemScores) else {}
    key = measure_key(task, objective.metric)
    return tuple(sorted(scored[key].items)) if key in scored else ()


def _sorted(items: Items, task: str) -> tuple[int, ...]:
    return tuple(sorted(items.get(task, ())))


def _asking(found: LocalTask | LocalGroup, objective: Objective, is_whole: bool) -> Asking:
    tasks = found.tasks if isinstance(found, LocalGroup) else (found,)
    wants = [needed(task) for task in tasks]
    return Asking(
        num_fewshot=_num_fewshot(tasks, objective.num_fewshot),
        is_whole=is_whole,
        chat_template=objective.chat_template,
        permissions=Permissions(
            unsafe_code=any(own.unsafe_code for own in wants),
            remote_code=any(own.remote_code for own in wants),
        ),
    )


def _num_fewshot(tasks: tuple[LocalTask, ...], wanted: int | None) -> int | None:
    """How many solved examples stand before each question; None where the tasks differ."""
    if wanted is not None:
        return wanted
    own = {n if isinstance(n := task.config.get("num_fewshot"), int) else 0 for task in tasks}
    return own.pop() if len(own) == 1 else None
