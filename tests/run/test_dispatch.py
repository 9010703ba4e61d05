"""Jobs whose worker was lost are handed out again, and given up after three."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evomerge.journal.events import Failed, Lost, Proposed
from evomerge.journal.journal import Journal
from evomerge.records import Failure, GroupRecipe, ItemScores, Job, Recipe, Result, TaskScores
from evomerge.run.dispatch import Dispatcher
from evomerge.run.loop import run_jobs
from evomerge.run.record import Record

Evaluate = Callable[[Job, int], Result]


class OneByOne:
    """A pool that evaluates with a function of the job and of how often it was seen."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._jobs: deque[Job] = deque()
        self.n_seen: Counter[str] = Counter()

    def free(self) -> int:
        return 2 - len(self._jobs)

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def finished(self) -> Iterator[Result]:
        if self._jobs:
            job = self._jobs.popleft()
            self.n_seen[job.candidate_id] += 1
            yield self._evaluate(job, self.n_seen[job.candidate_id])

    def close(self) -> None:
        self._jobs.clear()


def scored(job: Job) -> Result:
    return ItemScores(job.candidate_id, {"sums": TaskScores((0, 1), (1.0, 0.0))}, job.phase)


def lost(job: Job, reason: str) -> Result:
    return Failure(job.candidate_id, reason, "gone", job.phase)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with Journal.create(tmp_path / "journal.db") as journal:
        yield Record(journal)


def jobs(n: int) -> list[Job]:
    recipes = [
        Recipe(("a",), {"head": GroupRecipe("linear", {"coefficient": (float(k),)})})
        for k in range(n)
    ]
    return [Job(recipe.digest, recipe, {"sums": (0, 1)}) for recipe in recipes]


def kinds(tmp_path: Path) -> list[str]:
    with Journal.open(tmp_path / "journal.db", read_only=True) as journal:
        return [type(event).__name__ for event in journal.replay()]


@pytest.mark.parametrize("reason", ["worker_died", "timeout"])
def test_a_candidate_whose_worker_was_lost_twice_is_scored_by_the_third(
    record: Record, tmp_path: Path, reason: str
) -> None:
    [job] = jobs(1)
    pool = OneByOne(lambda job, n: lost(job, reason) if n < 3 else scored(job))
    run_jobs(Dispatcher(record, pool, [job]))
    assert kinds(tmp_path) == ["Proposed", "Lost", "Proposed", "Lost", "Proposed", "Scored"]
    assert record.state.result(job.candidate_id) == scored(job)


def test_a_poison_candidate_is_given_up_after_three_workers_and_the_others_finish(
    record: Record,
) -> None:
    poison, *others = jobs(5)
    pool = OneByOne(
        lambda job, _: (
            lost(job, "worker_died") if job.candidate_id == poison.candidate_id else scored(job)
        )
    )
    run_jobs(Dispatcher(record, pool, [poison, *others]))
    assert record.state.result(poison.candidate_id) == lost(poison, "worker_died")
    assert pool.n_seen == {poison.candidate_id: 3} | {job.candidate_id: 1 for job in others}


def test_losses_before_a_crash_of_the_driver_count(record: Record) -> None:
    [job] = jobs(1)
    failure = lost(job, "worker_died")
    assert isinstance(failure, Failure)
    record.append(
        Proposed(job.candidate_id), Lost(failure), Proposed(job.candidate_id), Lost(failure)
    )
    pool = OneByOne(lambda job, _: lost(job, "worker_died"))
    run_jobs(Dispatcher(record, pool, [job]))
    assert pool.n_seen[job.candidate_id] == 1
    assert isinstance(record.state.result(job.candidate_id), Failure)


def test_a_candidate_that_is_bad_in_itself_is_not_tried_again(
    record: Record, tmp_path: Path
) -> None:
    pool = OneByOne(lambda job, _: lost(job, "non_finite"))
    run_jobs(Dispatcher(record, pool, jobs(1)))
    assert kinds(tmp_path) == ["Proposed", Failed.__name__]


def test_results_are_reported_only_once_the_journal_has_them(record: Record) -> None:
    seen: list[bool] = []

    def on_recorded(result: Result) -> None:
        seen.append(record.state.result(result.candidate_id) == result)

    run_jobs(Dispatcher(record, OneByOne(lambda job, _: scored(job)), jobs(4), on_recorded))
    assert seen == [True] * 4
