"""`export`: a candidate of a run as a model folder, with the commands that reproduce its scores."""

import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.vocabulary_alignment import align
from evomerge.errors import UsageError
from evomerge.export.card import CardData
from evomerge.export.folder import export_model
from evomerge.journal.events import Started
from evomerge.journal.state import RunState
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import Comparison, ItemScores, Member, Phase
from evomerge.run.build import fingerprint_models, require_unchanged
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.needed import statistics_paths
from evomerge.run.plan import Items, Plan
from evomerge.run.view import comparison
from evomerge.scoring.reproduce import evaluate_command, write_portable_tasks
from evomerge.scoring.task_files import find_tasks, read_task
from evomerge.workers.worker import open_all_statistics

TASKS_NAME = "lm_eval_tasks"
"""Folder of the run directory with tasks that `lm_eval` can run from anywhere."""


def export_candidate(run_dir: Path, candidate_id: str, out_dir: Path) -> None:
    """Write a candidate or baseline of a run as a Hugging Face folder.

    Raises:
        UsageError: there is no such run or candidate, or `out_dir` is taken.
        ModelError: a source cannot be read, or is no longer what it was when the run started.
    """
    out_dir = out_dir.resolve()  # `.` has no name of its own
    state, plan = read_run(run_dir)
    member = find_member(
        comparison(state, objectives_of(plan, state), plan.baselines), candidate_id
    )
    experiment = plan.experiment
    require_unchanged(plan, fingerprint_models(experiment))
    base = open_checkpoint(experiment.base)
    experts = {name: open_model(path, base) for name, path in experiment.experts.items()}
    aligned = align(base, experts, tokenizer=experiment.merge.tokenizer)
    card = CardData(
        title=out_dir.name,
        member=member,
        base=str(experiment.base),
        experts={name: str(path) for name, path in experiment.experts.items()},
        commands=tuple(
            reproducing_commands(plan, run_dir, out_dir, _search_items(state, member.id))
        ),
        digests=_model_digests(plan),
        seed=experiment.seed,
        versions=state.started.versions if isinstance(state.started, Started) else {},
    )
    statistics = open_all_statistics(statistics_paths(experiment, plan.fingerprints))
    merge = PreparedMerge(aligned.base, aligned.experts, statistics)
    export_model(merge.merged(member.recipe), base, out_dir, card)
    print(f"{out_dir}: {member.id} exported; README.md tells its scores and how to reproduce them")


def find_member(shown: Comparison, wanted: str) -> Member:
    """The member with this identity, an unambiguous beginning of it, or this baseline's name.

    Raises:
        UsageError: there is none, or there are several.
    """
    if wanted in shown.baselines:
        return shown.baselines[wanted]
    members = {member.id: member for member in (*shown.members(), *shown.dominated)}
    found = [member for id_, member in members.items() if id_.startswith(wanted)]
    if len(found) == 1 and wanted:
        return found[0]
    best = ", ".join(member.id for member in shown.front[:5]) or "none yet"
    raise UsageError(
        f"{'no' if not found else len(found)} candidates of this run begin with `{wanted}`; "
        f"expected one identity, such as those of the front ({best}), or a baseline "
        f"({', '.join(shown.baselines)})"
    )


def _search_items(state: RunState, candidate_id: str) -> Items:
    """The search items that a candidate was scored on, by task, ascending as lm-eval wants them."""
    result = state.result(candidate_id)
    scored = result.tasks if isinstance(result, ItemScores) else {}
    return {task: tuple(sorted(scores.items)) for task, scores in scored.items()}


def reproducing_commands(
    plan: Plan, run_dir: Path, out_dir: Path, search_items: Items
) -> Iterator[str]:
    """The lm-eval commands that score the exported folder as the run did, test items first.

    Tasks are scored together where they have the same number of few-shot examples, and are scored
    whole or in part alike. A part of a few-shot task is left out: lm-eval draws other examples for
    it than for the whole.
    """
    tasks_path = plan.experiment.tasks_path
    include_path = None
    if tasks_path is not None:
        include_path = run_dir.resolve() / TASKS_NAME
        names = [task for tasks in plan.items.values() for task in tasks]
        write_portable_tasks(names, tasks_path=tasks_path, out_dir=include_path)
    for phase in reversed(get_args(Phase)):
        items = search_items if phase == "search" else plan.items[phase]
        alike: dict[tuple[int | None, bool], list[str]] = defaultdict(list)
        for objective in plan.experiment.objectives:
            task = objective.benchmark(phase)
            if task in items:
                num_fewshot = _num_fewshot(task, objective.num_fewshot, tasks_path)
                alike[(num_fewshot, phase == "test" and task == objective.test)].append(task)
        for (num_fewshot, is_whole), tasks in alike.items():
            if num_fewshot != 0 and not is_whole:
                continue
            command = evaluate_command(
                out_dir,
                tasks,
                dtype=plan.dtype,
                include_path=include_path,
                batch_size=plan.experiment.scoring.batch_size,
                num_fewshot=num_fewshot,
                items=None if is_whole else {task: items[task] for task in tasks},
            )
            yield shlex.join(command)


def _num_fewshot(task: str, wanted: int | None, tasks_path: Path | None) -> int | None:
    """The number of few-shot examples as far as the experiment and local task files tell."""
    if wanted is not None or tasks_path is None:
        return wanted
    local = find_tasks(tasks_path).get(task)
    if local is None:
        return None
    own = read_task(local).config.get("num_fewshot")
    return own if isinstance(own, int) else 0


def _model_digests(plan: Plan) -> dict[str, str]:
    return {
        name.removeprefix("model:"): digest
        for name, digest in plan.fingerprints.items()
        if name.startswith("model:")
    }
