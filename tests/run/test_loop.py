"""The loop: the same search whatever the workers do, nothing lost and nothing repeated."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evomerge.journal.events import Asked, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.merge.methods import METHODS
from evomerge.records import Failure, ItemScores, Job, Outcome, Result, TaskScores
from evomerge.run.dispatch import Dispatcher
from evomerge.run.estimates import Objectives, ObjectiveTasks
from evomerge.run.loop import Search, run_jobs, run_search
from evomerge.run.record import Record
from evomerge.search.ordered import Mode, Window
from evomerge.search.space import SearchSpace
from evomerge.search.table import CONTROLLERS

OBJECTIVES = Objectives(
    (ObjectiveTasks("left", "left", None), ObjectiveTasks("right", "right", None))
)
ITEMS = {"left": tuple(range(20)), "right": tuple(range(20))}
SPACE = SearchSpace(
    dict.fromkeys(("layers.0-0", "layers.1-1"), (METHODS["task_arithmetic"],)), ("a", "b"), seed=0
)


class CrashError(Exception):
    """The process dies here, as far as a test can make it die."""


class ShufflingPool:
    """Scores recipes by a formula; several workers that finish in an order of their own."""

    def __init__(self, n_workers: int, seed: int, crash_after: int | None = None) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - test data
        self._n_workers = n_workers
        self._running: list[Job] = []
        self._left = crash_after
        self.n_scored: Counter[str] = Counter()

    def free(self) -> int:
        return self._n_workers - len(self._running)

    def submit(self, job: Job) -> None:
        assert self.free() > 0
        self._running.append(job)

    def finished(self) -> Iterator[Result]:
        for _ in range(self._rng.randint(1, max(1, len(self._running)))):
            if not self._running:
                return
            if self._left == 0:
                raise CrashError
            self._left = None if self._left is None else self._left - 1
            job = self._running.pop(self._rng.randrange(len(self._running)))
            self.n_scored[job.candidate_id] += 1
            yield score(job)

    def close(self) -> None:
        self._running.clear()


def score(job: Job) -> Result:
    """Items answered right below a threshold that depends on the recipe; some recipes fail."""
    values = [value for g in job.recipe.groups.values() for value in g.values["coefficient"]]  # type: ignore[union-attr]
    if int(job.candidate_id, 16) % 11 == 0:
        return Failure(job.candidate_id, "exception", "a failure by design")
    levels = {"left": np.mean(values), "right": 1.5 - np.mean(np.abs(np.diff(values)))}
    tasks = {
        task: TaskScores(items, tuple(float(item < 13 * levels[task]) for item in items))
        for task, items in job.items.items()
    }
    return ItemScores(job.candidate_id, tasks)


def search_in(record: Record, *, window: int, mode: Mode = "deterministic") -> Search:
    told: list[Outcome] = []
    state = record.state
    search = Search(
        record=record,
        build_controller=lambda: CONTROLLERS["nsga2"].build(SPACE.n_dims, 6, 0),
        space=SPACE,
        window=Window(window, 40, mode, asked=state.n_asked, told=state.told_numbers),
        objectives=OBJECTIVES,
        items=lambda number: ITEMS,
        seed=0,
        on_told=told.append,
    )
    search.replay()
    return search


def story(path: Path) -> tuple[list[object], dict[str, object]]:
    """What was asked and told in which order, and the per-item scores."""
    with Journal.open(path, read_only=True) as journal:
        events = list(journal.replay())
    steps: list[object] = [
        (type(event).__name__, event.number, event.candidate_id)
        for event in events
        if isinstance(event, Asked | Told)
    ]
    scores = {e.scores.candidate_id: e.scores.tasks for e in events if isinstance(e, Scored)}
    return steps, scores


def run(path: Path, pool: ShufflingPool, *, window: int, mode: Mode = "deterministic") -> None:
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        record = Record(journal)
        run_search(search_in(record, window=window, mode=mode), Dispatcher(record, pool))


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_the_search_does_not_depend_on_the_workers(
    tmp_path: Path, window: int, n_workers: int
) -> None:
    run(tmp_path / "one.db", ShufflingPool(1, seed=0), window=window)
    run(tmp_path / "many.db", ShufflingPool(n_workers, seed=n_workers), window=window)
    assert story(tmp_path / "many.db") == story(tmp_path / "one.db")


def test_asks_and_tells_alternate_once_the_window_is_full(tmp_path: Path) -> None:
    run(tmp_path / "journal.db", ShufflingPool(3, seed=1), window=8)
    steps, _ = story(tmp_path / "journal.db")
    expected: list[tuple[str, int]] = [("Asked", number) for number in range(8)]
    for number in range(40):
        expected.append(("Told", number))
        if number + 8 < 40:
            expected.append(("Asked", number + 8))
    assert [step[:2] for step in steps] == expected  # type: ignore[index]


@pytest.mark.parametrize("seed", range(6))
def test_a_search_that_crashes_again_and_again_ends_as_one_that_does_not(
    tmp_path: Path, seed: int
) -> None:
    run(tmp_path / "smooth.db", ShufflingPool(2, seed=0), window=4)
    rng = random.Random(seed)  # noqa: S311 - test data
    times: Counter[str] = Counter()
    n_crashes = 0
    while True:
        pool = ShufflingPool(2, seed=rng.randrange(1000), crash_after=rng.randint(1, 6))
        try:
            run(tmp_path / "crashing.db", pool, window=4)
        except CrashError:
            n_crashes += 1
        else:
            break
        finally:
            times += pool.n_scored
    assert n_crashes >= 5
    assert set(times.values()) == {1}
    assert story(tmp_path / "crashing.db") == story(tmp_path / "smooth.db")


def test_in_async_mode_every_candidate_is_told_once(tmp_path: Path) -> None:
    run(tmp_path / "journal.db", ShufflingPool(4, seed=2), window=8, mode="async")
    steps, _ = story(tmp_path / "journal.db")
    told = [step[1] for step in steps if step[0] == "Told"]  # type: ignore[index]
    assert sorted(told) == list(range(40))
    assert told != sorted(told)


def test_no_merge_is_scored_twice_even_if_the_controller_repeats_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        def ask(self, number: int, rng: np.random.Generator) -> np.ndarray:
            return np.round(rng.random(SPACE.n_dims))  # 16 corners in all

        def tell(self, outcome: Outcome) -> None:
            pass

    with Journal.create(tmp_path / "journal.db") as journal:
        record = Record(journal)
        search = search_in(record, window=4)
        search.controller = Stubborn()
        pool = ShufflingPool(1, seed=0)
        run_search(search, Dispatcher(record, pool))
    assert "search space of 4 genes is exhausted after 16 candidates" in caplog.text
    assert len(search.record.state.told) == len(pool.n_scored) == 16
    assert set(pool.n_scored.values()) == {1}


def test_jobs_that_have_a_result_are_not_run_again(tmp_path: Path) -> None:
    pool = ShufflingPool(2, seed=0)
    recipes = [SPACE.candidate(0, np.full(SPACE.n_dims, gene)).recipe for gene in (0.1, 0.2, 0.2)]
    jobs = [Job(recipe.digest, recipe, ITEMS) for recipe in recipes]
    with Journal.create(tmp_path / "journal.db") as journal:
        record = Record(journal)
        run_jobs(Dispatcher(record, pool, jobs[:1]))
        run_jobs(Dispatcher(record, pool, jobs))
    assert set(pool.n_scored.values()) == {1}
    assert len(pool.n_scored) == 2
