"""Item banks are fitted in the run, once, and estimate from then on what all items would say."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evomerge.config.experiment import Experiment
from evomerge.journal.events import Calibrated, Event, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.records import Failure, ItemScores, Job, Outcome, Result, TaskScores
from evomerge.run.calibration import Calibration, objectives_of
from evomerge.run.dispatch import Dispatcher
from evomerge.run.loop import Search, run_jobs, run_search
from evomerge.run.plan import Plan
from evomerge.run.record import Record
from evomerge.search.ordered import Mode, Window
from evomerge.search.table import CONTROLLERS

N_ITEMS, N_SUBSET, N_CALIBRATION, N_EVALUATIONS, WINDOW = 60, 15, 12, 30, 4
ALL = tuple(range(N_ITEMS))
SUBSET = tuple(range(0, N_ITEMS, N_ITEMS // N_SUBSET))


class CrashError(Exception):
    """The process dies here."""


class Simulated:
    """Models that answer by a 2PL law; their ability is the mean of their coefficients.

    `graded` gives the task `left` values that are not right or wrong. Results come in an order of
    their own, three at a time.
    """

    def __init__(self, *, graded: bool = False, seed: int = 0, crash_after: int = 10**9) -> None:
        self._graded = graded
        self._rng = random.Random(seed)  # noqa: S311 - test data
        self._left = crash_after
        self._jobs: list[Job] = []

    def free(self) -> int:
        return 3 - len(self._jobs)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def finished(self) -> Iterator[Result]:
        while self._jobs:
            if self._left == 0:
                raise CrashError
            self._left -= 1
            yield self._score(self._jobs.pop(self._rng.randrange(len(self._jobs))))

    def close(self) -> None:
        self._jobs.clear()

    def _score(self, job: Job) -> Result:
        if int(job.candidate_id, 16) % 13 == 0:
            return Failure(job.candidate_id, "exception", "a failure by design")
        return ItemScores(job.candidate_id, {task: self._asked(job, task) for task in job.items})

    def _asked(self, job: Job, task: str) -> TaskScores:
        """As a worker asks: the job's items, then what its asker wants."""
        rights = answers(job.candidate_id, task, ability(job))
        if self._graded and task == "left":
            rights /= 3
        found, more = TaskScores((), ()), job.items[task]
        while more:
            found = found.then(TaskScores(more, tuple(float(rights[item]) for item in more)))
            more = job.asking[task].next_items({task: found}) if task in job.asking else ()
        return found


def ability(job: Job) -> float:
    values = [group.values["coefficient"] for group in job.recipe.groups.values()]
    return 3.0 * float(np.mean(values)) - 1.0


def answers(candidate_id: str, task: str, theta: float) -> np.ndarray:
    """`(N_ITEMS,)` zeros and ones: the same for the same candidate, however often it is asked."""
    key = hashlib.sha256(f"{candidate_id} {task}".encode()).digest()[:8]
    noise = np.random.default_rng(int.from_bytes(key, "big")).random(N_ITEMS)
    difficulty = np.linspace(-2.0, 2.0, N_ITEMS)
    return (noise < 1.0 / (1.0 + np.exp(-1.5 * (theta - difficulty)))).astype(float)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    experiment = Experiment.model_validate(
        {
            "base": tmp_path,
            "experts": {"red": tmp_path, "blue": tmp_path},
            "objectives": [{"task": "left"}, {"task": "right"}],
            "scoring": {"estimator": "irt", "calibration": N_CALIBRATION, "items": N_SUBSET},
            "search": {"population": 6, "window": WINDOW},
            "budget": {"evaluations": N_EVALUATIONS},
        }
    )
    tasks = ("left", "right")
    pool = SUBSET + tuple(item for item in ALL if item not in SUBSET)
    groups = ("layers.0-0", "layers.1-1")
    items = {"search": dict.fromkeys(tasks, pool), "selection": {}, "test": {}}
    return Plan(experiment, groups, items, "float32", {})


def run(plan: Plan, path: Path, pool: Simulated, mode: Mode = "deterministic") -> list[Event]:
    """Begin or go on; every event that the journal holds in the end."""
    told: list[Outcome] = []
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        record = Record(journal)
        baselines = [plan.job(recipe, "search") for recipe in plan.baselines.values()]
        run_jobs(Dispatcher(record, pool, baselines))
        state = record.state
        window = Window(WINDOW, N_EVALUATIONS, mode, asked=state.n_asked, told=state.told_numbers)
        search = Search(
            record=record,
            build_controller=lambda: CONTROLLERS["nsga2"].build(plan.space.n_dims, 6, 0),
            space=plan.space,
            window=window,
            objectives=objectives_of(plan, state),
            items=plan.search_items,
            seed=0,
            on_told=told.append,
            calibration=Calibration(record, plan),
        )
        search.replay()
        run_search(search, Dispatcher(record, pool))
        return list(journal.replay())


def state_of(path: Path) -> Record:
    with Journal.open(path, read_only=True) as journal:
        return Record(journal)


@pytest.mark.parametrize("mode", ["deterministic", "async"])
def test_the_first_candidates_answer_all_items_and_later_ones_common_and_chosen_ones(
    plan: Plan, tmp_path: Path, mode: Mode
) -> None:
    run(plan, tmp_path / "journal.db", Simulated(), mode)
    state = state_of(tmp_path / "journal.db").state
    for number, candidate in state.candidates.items():
        result = state.result(candidate.id)
        if isinstance(result, ItemScores):
            items = [result.tasks[task].items for task in ("left", "right")]
            first = list(plan.search_items(number).values())
            assert [own[: len(first[0])] for own in items] == first
            n_asked = N_ITEMS if number < N_CALIBRATION else N_SUBSET
            assert [len(set(own)) for own in items] == [n_asked, n_asked]
            has_chosen = len(first[0]) < n_asked
            assert has_chosen == (number >= N_CALIBRATION + WINDOW - 1)
    for recipe in plan.baselines.values():
        result = state.result(recipe.digest)
        assert isinstance(result, Failure) or result.tasks["left"].items == ALL


@pytest.mark.parametrize("mode", ["deterministic", "async"])
def test_the_banks_are_journaled_once_after_the_first_candidates_are_told(
    plan: Plan, tmp_path: Path, mode: Mode
) -> None:
    events = run(plan, tmp_path / "journal.db", Simulated(), mode)
    [place] = [k for k, event in enumerate(events) if isinstance(event, Calibrated)]
    before = [event.number for event in events[:place] if isinstance(event, Told)]
    assert sorted(before) == list(range(N_CALIBRATION))
    banks = events[place].banks
    assert set(banks) == {"left", "right"}
    for task, bank in banks.items():
        assert (bank["task"], len(bank["items"]), len(bank["digest"])) == (task, N_ITEMS, 64)


def test_estimates_are_those_of_all_items_for_the_first_and_close_to_them_for_the_others(
    plan: Plan, tmp_path: Path
) -> None:
    run(plan, tmp_path / "journal.db", Simulated())
    state = state_of(tmp_path / "journal.db").state
    objectives = objectives_of(plan, state)
    errors: list[float] = []
    for number, candidate in state.candidates.items():
        result = state.result(candidate.id)
        if not isinstance(result, ItemScores):
            continue
        estimates = objectives.estimates(result)
        for task, estimate in estimates.items():
            job = Job(candidate.id, candidate.recipe, {})
            truth = float(answers(candidate.id, task, ability(job)).mean())
            if number < N_CALIBRATION:
                assert (estimate.mean, estimate.se, estimate.n) == (pytest.approx(truth), 0.0, 60)
            else:
                assert estimate.se > 0.0
                assert estimate.n == len(SUBSET)
                errors.append((estimate.mean - truth) / estimate.se)
    assert len(errors) >= 20
    assert np.mean(np.abs(errors) < 2.0) > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_it_ends_with_the_same_banks_tells_and_scores(
    plan: Plan, tmp_path: Path, seed: int
) -> None:
    def story(events: list[Event]) -> list[object]:
        tells = [(e.number, e.candidate_id) for e in events if isinstance(e, Told)]
        banks = [(dict(e.banks), dict(e.notes)) for e in events if isinstance(e, Calibrated)]
        scores = {e.scores.candidate_id: e.scores.tasks for e in events if isinstance(e, Scored)}
        return [tells, banks, scores]

    smooth = run(plan, tmp_path / "smooth.db", Simulated())
    rng = random.Random(seed)  # noqa: S311 - test data
    while True:
        pool = Simulated(seed=rng.randrange(99), crash_after=rng.randint(1, 9))
        try:
            events = run(plan, tmp_path / "crashing.db", pool)
        except CrashError:
            continue
        break
    assert story(events) == story(smooth)


def test_a_kill_between_the_last_tell_and_the_fit_is_made_good(plan: Plan, tmp_path: Path) -> None:
    smooth = run(plan, tmp_path / "smooth.db", Simulated())
    place = next(k for k, event in enumerate(smooth) if isinstance(event, Calibrated))
    with Journal.create(tmp_path / "cut.db") as journal:
        journal.append(*(replace(event, time_s=0.0) for event in smooth[:place]))
    events = run(plan, tmp_path / "cut.db", Simulated())
    told = [[e.candidate_id for e in story if isinstance(e, Told)] for story in (events, smooth)]
    assert told[0] == told[1]
    assert sum(isinstance(event, Calibrated) for event in events) == 1


def test_a_task_that_no_bank_fits_keeps_the_mean_and_the_journal_says_why(
    plan: Plan, tmp_path: Path
) -> None:
    events = run(plan, tmp_path / "journal.db", Simulated(graded=True))
    [calibrated] = [event for event in events if isinstance(event, Calibrated)]
    assert calibrated.banks["left"] is None
    assert calibrated.banks["right"] is not None
    assert "expected 0 or 1" in calibrated.notes["left"]
    state = state_of(tmp_path / "journal.db").state
    objectives = objectives_of(plan, state)
    last = next(r for r in reversed(state.results.values()) if isinstance(r, ItemScores))
    assert objectives.estimates(last)["left"] == last.tasks["left"].estimate()
    assert objectives.estimates(last)["right"] != last.tasks["right"].estimate()
