"""Models that answer all items of some tasks, for a calibration: whatever is cheap and at hand.

Every model's answers are a file of their own as soon as they are there, so that a calibration that
was killed goes on, and one with more merges only scores those.
"""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from evomerge.errors import CalibrationError, InfrastructureError, ModelError, UsageError
from evomerge.irt.responses import Responses
from evomerge.journal.spool import Spool
from evomerge.records import Failure, ItemScores, Job, Recipe, Result, TaskScores
from evomerge.run.directory import read_run
from evomerge.run.dispatch import MAX_ATTEMPTS
from evomerge.run.plan import Items, Plan
from evomerge.workers.pool import Pool

STREAM = 0xCA1B
"""Sets the random merges of a calibration apart from those that a search begins with."""


@dataclass(frozen=True)
class Answerer:
    """A model that shall answer: a merge by name, and what it has answered already.

    `known`: item → 0 or 1, by task.
    """

    name: str
    recipe: Recipe
    known: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def job(self, items: Items) -> Job:
        """The evaluation of what is not known yet; of nothing where all is."""
        missing = {
            task: tuple(item for item in own if item not in self.known.get(task, {}))
            for task, own in items.items()
        }
        left = {task: own for task, own in missing.items() if own}
        return Job(self.recipe.digest, self.recipe, left)


def answerers(plan: Plan, n_merges: int, seed: int) -> dict[str, Answerer]:
    """The baselines and random merges of the search space, each merge once, by its digest."""
    rng = np.random.default_rng([STREAM, seed])
    found = {recipe.digest: Answerer(name, recipe) for name, recipe in plan.baselines.items()}
    for _ in range(n_merges):
        recipe = plan.space.decode(rng.random(plan.space.n_dims))
        found.setdefault(recipe.digest, Answerer(recipe.digest, recipe))
    return found


def answerers_of_run(run_dir: Path, plan: Plan, measures: Mapping[str, str]) -> dict[str, Answerer]:
    """The candidates of a run that were scored on all of its search items, with those answers.

    Args:
        measures: key of the measure that counts, by task.

    Raises:
        UsageError: there is no run, it is one of other tasks, or none of its candidates will do.
        ModelError: its models or tasks are not those of the plan.
    """
    state, own = read_run(run_dir)
    _require_the_same(run_dir, own, plan, measures)
    wanted = {task: set(own.items["search"][task]) for task in measures}
    found = {}
    for candidate in state.candidates.values():
        result = state.result(candidate.id)
        known = _known(result, measures) if isinstance(result, ItemScores) else {}
        if all(known.get(task, {}).keys() >= items for task, items in wanted.items()):
            found[candidate.id] = Answerer(candidate.id, candidate.recipe, known)
    if not found:
        raise UsageError(
            f"no candidate of {run_dir} was scored on all search items of "
            f"{', '.join(measures)}, expected some, as a run with `estimator: irt` and no bank "
            "has; leave out --from"
        )
    return found


def _require_the_same(run_dir: Path, own: Plan, plan: Plan, tasks: Iterable[str]) -> None:
    names = [f"task:{task}" for task in tasks]
    if missing := [task for task in tasks if task not in own.items["search"]]:
        raise UsageError(
            f"the run in {run_dir} does not search by {', '.join(missing)}, expected a run of the "
            "same tasks; leave out --from, or choose tasks with --task"
        )
    names += [name for name in plan.fingerprints if name.startswith("model:")]
    changed = [name for name in names if own.fingerprints.get(name) != plan.fingerprints[name]]
    if changed:
        raise ModelError(
            f"{', '.join(changed)} of the run in {run_dir} is not what the experiment names, "
            "expected the same models and tasks; leave out --from"
        )


def _known(scores: ItemScores, measures: Mapping[str, str]) -> dict[str, dict[int, float]]:
    return {
        task: dict(zip(own.items, own.values, strict=True))
        for task, key in measures.items()
        if (own := scores.tasks.get(key)) is not None
    }


def answers_digest(plan: Plan, items: Items) -> str:
    """What the answers to these items depend on, in twelve hexadecimal digits."""
    scoring = plan.experiment.scoring
    text = json.dumps(
        [sorted(plan.fingerprints.items()), sorted(items.items()), plan.dtype, scoring.mode]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class AnswerStore:
    """The answers so far, in a folder; made where it is missing.

    Raises:
        InfrastructureError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder.resolve())
        try:
            self.spool.prepare()
        except OSError as error:
            raise InfrastructureError(
                f"cannot make {folder}: {error.strerror}, expected a folder for the answers of "
                "models; choose another with --out"
            ) from error

    def find(self, job: Job) -> ItemScores | None:
        """What answers exactly this job, if it is there."""
        result = self.spool.find(job)
        return result if isinstance(result, ItemScores) else None

    def keep(self, scores: ItemScores) -> None:
        """Make the answers durable.

        Raises:
            InfrastructureError: the disk refuses.
        """
        try:
            self.spool.put(scores)
        except OSError as error:
            raise InfrastructureError(
                f"cannot write to {self.spool.folder}: {error.strerror}; free some space, then "
                "the same command goes on"
            ) from error


def evaluate(pool: Pool, jobs: Iterable[Job]) -> Iterator[Result]:
    """The result of each job, in any order; a job whose worker was lost is tried three times."""
    waiting = deque(jobs)
    is_open = {job.candidate_id: job for job in waiting}
    n_lost: Counter[str] = Counter()
    while is_open:
        while waiting and pool.free():
            pool.submit(waiting.popleft())
        for result in pool.finished():
            n_lost[result.candidate_id] += 1
            is_lost = isinstance(result, Failure) and result.is_loss
            if is_lost and n_lost[result.candidate_id] < MAX_ATTEMPTS:
                waiting.append(is_open[result.candidate_id])
                continue
            del is_open[result.candidate_id]
            yield result


def collect_answers(
    models: Iterable[Answerer],
    items: Items,
    store: AnswerStore,
    open_pool: Callable[[], Pool],
    on_result: Callable[[Result], None],
) -> dict[str, ItemScores]:
    """What each model answers, by its recipe's digest, from the store or else from workers.

    Args:
        open_pool: called only where something is missing.
        on_result: hears of every result of a worker; failures are left out of what is returned.
    """
    jobs = {model.recipe.digest: model.job(items) for model in models}
    found = {digest: scores for digest, job in jobs.items() if (scores := store.find(job))}
    missing = [job for digest, job in jobs.items() if digest not in found and job.items]
    if missing:
        pool = open_pool()
        try:
            for result in evaluate(pool, missing):
                if isinstance(result, ItemScores):
                    store.keep(result)
                    found[result.candidate_id] = result
                on_result(result)
        finally:
            pool.close()
    empty = ItemScores("", {})
    return {
        digest: found.get(digest) or replace(empty, candidate_id=digest)
        for digest, job in jobs.items()
        if digest in found or not job.items
    }


def responses_to(
    task: str,
    measure: str,
    items: tuple[int, ...],
    models: Mapping[str, Answerer],
    answers: Mapping[str, ItemScores],
) -> Responses:
    """The matrix of one task from what the models answered.

    Raises:
        CalibrationError: nobody answered, or an answer is neither right nor wrong.
    """
    rows, names = [], []
    for digest, scores in answers.items():
        own = scores.tasks.get(measure, TaskScores((), ()))
        row = {
            **models[digest].known.get(task, {}),
            **dict(zip(own.items, own.values, strict=True)),
        }
        rows.append([row[item] for item in items])
        names.append(models[digest].name)
    if not rows:
        raise CalibrationError(
            f"no model could be scored on task {task}, expected at least one; the messages above "
            "tell why"
        )
    matrix = np.array(rows, dtype=np.float64)
    if not np.isin(matrix, (0.0, 1.0)).all():
        model, place = np.argwhere(~np.isin(matrix, (0.0, 1.0)))[0]
        raise CalibrationError(
            f"model {names[model]} has {matrix[model, place]:g} on item {items[place]} of task "
            f"{task}, expected 0 or 1; an item bank needs a metric that is right or wrong, such as "
            "acc or exact_match"
        )
    return Responses(tuple(names), items, matrix)
