"""`run` and `resume`: hold the directory, settle the plan, go on from what the journal holds."""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from evomerge.errors import InfrastructureError, UsageError
from evomerge.journal.events import Started
from evomerge.records import NO_CODE, Permissions
from evomerge.run.build import (
    load_experiment_tasks,
    make_plan,
    require_unchanged,
)
from evomerge.run.directory import CONFIG_NAME, read_run, writing
from evomerge.run.identity import versions
from evomerge.run.interrupt import Interrupted, interruptible
from evomerge.run.places import default_run_dir
from evomerge.run.plan import Plan
from evomerge.run.record import Record
from evomerge.run.session import Session
from evomerge.run.validate import load_experiment


def run_experiment(
    config: Path,
    overrides: Sequence[str],
    out: Path | None,
    permissions: Permissions = NO_CODE,
) -> int:
    """Run an experiment, or continue it where its directory holds it already; the exit code.

    Raises:
        ConfigError: the experiment cannot be run as written, with every problem.
        UsageError: the directory holds another experiment, or files of something else.
        RunLockedError: another process holds the directory.
    """
    run_dir = out or default_run_dir(config)
    try:
        with interruptible(), writing(run_dir) as record:
            experiment = load_experiment(config, overrides, permissions)
            benchmarks = load_experiment_tasks(experiment, permissions)
            plan = make_plan(experiment, benchmarks)
            if record.state.started is None:
                _copy(config, run_dir / CONFIG_NAME)
                _start(record, plan)
            elif record.state.started.digest != plan.digest:
                raise UsageError(_other_experiment(run_dir, record.state.started, plan))
            return Session(run_dir, record, plan, benchmarks).run()
    except Interrupted as interruption:
        return interruption.exit_code


def resume_run(path: Path, permissions: Permissions = NO_CODE) -> int:
    """Continue the run in a directory, or the run of an experiment file; the exit code.

    Raises:
        UsageError: there is no such run.
        ModelError: a model or a task is no longer what it was when the run started.
    """
    run_dir = default_run_dir(path) if path.is_file() else path
    read_run(run_dir)
    try:
        with interruptible(), writing(run_dir) as record:
            started = record.state.started
            if started is None:
                raise UsageError(f"the run in {run_dir} never started; use `evomerge run`")
            plan = Plan.from_json(started.experiment)
            if record.state.finished:
                return Session(run_dir, record, plan, {}).run()
            benchmarks = load_experiment_tasks(plan.experiment, permissions)
            require_unchanged(plan, make_plan(plan.experiment, benchmarks).fingerprints)
            return Session(run_dir, record, plan, benchmarks).run()
    except Interrupted as interruption:
        return interruption.exit_code


def _start(record: Record, plan: Plan) -> None:
    record.append(
        Started(
            experiment=plan.to_json(),
            digest=plan.digest,
            run_id=uuid.uuid4().hex,
            versions=versions(),
        )
    )


def _copy(config: Path, to: Path) -> None:
    try:
        shutil.copyfile(config, to)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {to}: {error.strerror}; free some space, or choose another directory "
            "with --out, then try again"
        ) from error


def _other_experiment(run_dir: Path, started: Started, plan: Plan) -> str:
    before, after = started.experiment, plan.to_json()
    # What was found out about the models and tasks matters only where the files say the same.
    differences = _differences(before.get("experiment"), after["experiment"])
    differences = differences or _differences(before, after) or ["the order of the experts"]
    return (
        f"{run_dir} holds another experiment ({', '.join(differences[:5])} differ); "
        "continue that one with its own file, or give this one a directory with --out"
    )


def _differences(before: object, after: object, path: str = "") -> list[str]:
    """The dotted keys at which two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = dict.fromkeys((*before, *after))
        return [
            difference
            for key in keys
            for difference in _differences(before.get(key), after.get(key), f"{path}.{key}")
        ]
    return [] if before == after else [path.lstrip(".")]
