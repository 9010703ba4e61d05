"""`calibrate`: item banks for the search tasks of an experiment, from models or from a matrix."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.config.experiment import Experiment
from evomerge.errors import CalibrationError, InfrastructureError, UsageError
from evomerge.irt.models import DEFAULT_MODELS, models_named
from evomerge.irt.responses import Responses, read_responses
from evomerge.journal.lock import RunLock
from evomerge.records import NO_CODE, Failure, Permissions, Result
from evomerge.run.answering import (
    Answerer,
    AnswerStore,
    answerers,
    answerers_of_run,
    answers_digest,
    collect_answers,
    responses_to,
)
from evomerge.run.banks import WITHOUT_BANK, banked_measures
from evomerge.run.build import (
    item_digests,
    load_experiment_tasks,
    make_plan,
    worker_resources,
    worker_spec,
)
from evomerge.run.fitting import Choice, Found, Note, provenance_of, write_banks
from evomerge.run.interrupt import interruptible, seen_through
from evomerge.run.needed import needed
from evomerge.run.places import default_banks_dir
from evomerge.run.plan import Plan
from evomerge.run.preparing import collect_statistics
from evomerge.run.validate import load_experiment
from evomerge.scoring.benchmark import TaskBenchmark
from evomerge.scoring.scorers import AnyBenchmark
from evomerge.workers.build import open_pool
from evomerge.workers.pool import Pool


@dataclass(frozen=True)
class Wish:
    """What a calibration is asked for.

    Attributes:
        tasks: search tasks; all of the experiment if empty.
        responses: file with a response matrix, instead of scoring models.
        n_merges: random merges to score beside the baselines.
        from_run: directory of a run whose candidates are taken too.
        seed: of the random merges and the cross-validation.
        models: names of the models of answers to choose from.
    """

    tasks: Sequence[str] = ()
    responses: Path | None = None
    n_merges: int = 40
    from_run: Path | None = None
    seed: int = 0
    models: Sequence[str] = DEFAULT_MODELS


def tell(line: str) -> None:
    """Say on standard error how far it is."""
    print(line, file=sys.stderr, flush=True)


def calibrate_tasks(
    config: Path,
    overrides: Sequence[str],
    out: Path | None,
    wish: Wish,
    note: Note = tell,
    permissions: Permissions = NO_CODE,
) -> dict[str, Any]:
    """Write a bank and the response matrix of each task; what was found, as JSON values.

    Args:
        out: folder of the banks; beside the runs by default.
        note: is told in words how far it is.
        permissions: what the tasks may run.

    Raises:
        ConfigError: the experiment cannot be used as written.
        UsageError: a task or model is not known, or a matrix is for more than one task.
        CalibrationError: no bank can be fitted to any of the tasks.
        RunLockedError: another process writes to the folder.
    """
    models = models_named(wish.models)
    experiment = load_experiment(config, (*overrides, *WITHOUT_BANK), permissions)
    measures = _measures(experiment, wish)
    benchmarks = load_experiment_tasks(experiment, permissions)
    tasks = {name: own for name, own in benchmarks.items() if isinstance(own, TaskBenchmark)}
    folder = out or default_banks_dir(config)
    _make(folder)
    with interruptible(), RunLock(folder), seen_through():
        if wish.responses is not None:
            (task,) = measures
            found: Found = {task: _given(wish.responses, task, tasks[task].n_items)}
            fingerprints: Mapping[str, str] = {}
        else:
            plan = make_plan(experiment, benchmarks)
            found = _asked(plan, tasks, measures, folder, wish, note)
            fingerprints = plan.fingerprints
        provenance = provenance_of(item_digests(experiment, tasks), fingerprints)
        return write_banks(folder, found, provenance, Choice(models, wish.seed), note)


def _measures(experiment: Experiment, wish: Wish) -> dict[str, str]:
    """The measure of each task that is wanted."""
    known = banked_measures(experiment)
    if unknown := [task for task in wish.tasks if task not in known]:
        raise UsageError(
            f"--task {unknown[0]} is no search task with a metric that is right or wrong, "
            f"expected one of {', '.join(known) or 'none'}"
        )
    chosen = {task: key for task, key in known.items() if not wish.tasks or task in wish.tasks}
    if not chosen:
        raise UsageError(
            "no objective is a task with a metric that is right or wrong, expected at least one; "
            "an item bank needs one, such as acc or exact_match"
        )
    if wish.responses is not None and len(chosen) > 1:
        raise UsageError(
            f"{wish.responses} is a response matrix of one task, but the experiment searches by "
            f"{', '.join(chosen)}; say which with --task"
        )
    return chosen


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfrastructureError(
            f"cannot make {folder}: {error.strerror}; choose another folder with --out"
        ) from error


def _given(path: Path, task: str, n_documents: int) -> Responses:
    responses = read_responses(path)
    if responses.items[-1] >= n_documents:
        raise CalibrationError(
            f"the response matrix {path} has a column for item {responses.items[-1]}, but task "
            f"{task} has documents 0 to {n_documents - 1}; name the columns as the task numbers "
            "its documents, and leave out those of other tasks"
        )
    return responses


def _asked(
    plan: Plan,
    benchmarks: Mapping[str, AnyBenchmark],
    measures: Mapping[str, str],
    folder: Path,
    wish: Wish,
    note: Note,
) -> Found:
    """The matrix of each task from models at hand, or why there is none."""
    models = answerers(plan, wish.n_merges, wish.seed)
    if wish.from_run is not None:
        models |= answerers_of_run(wish.from_run, plan, measures)
    items = {task: tuple(range(benchmarks[task].n_items)) for task in measures}
    store = AnswerStore(folder / f"answers-{answers_digest(plan, items)}")
    _prepare(plan, note)
    progress = _Progress(models, note)
    answers = collect_answers(
        models.values(),
        items,
        store,
        lambda: _open_pool(plan, {task: benchmarks[task] for task in measures}, store),
        progress.see,
    )
    found: dict[str, Responses | CalibrationError] = {}
    for task, measure in measures.items():
        try:
            found[task] = responses_to(task, measure, items[task], models, answers)
        except CalibrationError as error:
            found[task] = error
    return found


class _Progress:
    """Tells which models have answered, and which never will."""

    def __init__(self, models: Mapping[str, Answerer], note: Note) -> None:
        self._models = models
        self._note = note
        self._n_done = 0

    def see(self, result: Result) -> None:
        """Tell of a worker's result."""
        self._n_done += 1
        name = self._models[result.candidate_id].name
        if isinstance(result, Failure):
            self._note(f"{name} is left out: {result.reason}: {result.message}")
        else:
            self._note(f"{self._n_done} of {len(self._models)}: {name}, {result.seconds:.1f} s")


def _prepare(plan: Plan, note: Note) -> None:
    """Collect the statistics that the methods need, where they have not been yet."""
    wanted = needed(plan.experiment, plan.fingerprints)
    for statistic, seconds in collect_statistics(plan.experiment, plan.dtype, wanted):
        note(f"{statistic.name} collected in {seconds:.1f} s: {statistic.path}")


def _open_pool(plan: Plan, benchmarks: Mapping[str, AnyBenchmark], store: AnswerStore) -> Pool:
    experiment = plan.experiment
    return open_pool(
        worker_spec(plan),
        workers=None if experiment.workers == "auto" else experiment.workers,
        address=experiment.address,
        resources=worker_resources(experiment),
        spool=store.spool.folder,
        benchmarks=benchmarks,
    )
