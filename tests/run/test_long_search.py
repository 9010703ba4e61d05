"""Ten thousand evaluations by workers that answer at once: nothing lost, and no cost that grows."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from evomerge.journal import codec
from evomerge.journal.events import Event, Started, Told
from evomerge.journal.journal import Journal
from evomerge.records import Comparison, Outcome, Progress
from evomerge.run.calibration import objectives_of
from evomerge.run.dispatch import Dispatcher
from evomerge.run.loop import Search, run_search
from evomerge.run.plan import Plan
from evomerge.run.reading import comparison_of, status_of
from evomerge.run.record import Record
from evomerge.run.view import Spectator, history
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS
from experiments.benchmarks.controller.instant import InstantPool, StoppedError, instant_plan

pytestmark = pytest.mark.slow

N_EVALUATIONS = 10_000
N_STOPPED, N_STOPS = 2_000, 4
"""A shorter search that is killed again and again."""
WINDOW = 8
SETTLED = 500
"""Candidates after which the memory that everything starts with is there."""


class CountingJournal:
    """A journal that counts its commits."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.replay = journal.replay
        self.n_commits = 0

    def append(self, *events: Event) -> tuple[Event, ...]:
        self.n_commits += 1
        return self._journal.append(*events)


class Follower:
    """A spectator fed as a session does; notes memory and commits at each tell."""

    def __init__(self, plan: Plan, record: Record, journal: CountingJournal) -> None:
        objectives = objectives_of(plan, record.state)
        self._state, self._journal = record.state, journal
        n_total = plan.experiment.budget.evaluations
        self._spectator = Spectator(record.state, objectives, n_total)
        self.shown = history(record.state, objectives, self._spectator)
        self.resident_mb: list[float] = []
        self.commits: list[int] = []

    def on_told(self, outcome: Outcome) -> None:
        self.shown.append(self._spectator.see(outcome, self._state.time_s))
        self.commits.append(self._journal.n_commits)
        self.resident_mb.append(psutil.Process().memory_info().rss / 1e6)


def go_on(run_dir: Path, n: int = N_EVALUATIONS, stop_after: int | None = None) -> Follower:
    """Start or resume a search of `n`; until its end, or until its process dies."""
    plan = instant_plan(n, window=WINDOW)
    path = run_dir / "journal.db"
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        counting = CountingJournal(journal)
        record = Record(counting)  # type: ignore[arg-type]
        if record.state.started is None:
            record.append(Started(plan.to_json(), plan.digest, "long", {}))
        follower = Follower(plan, record, counting)
        search = searching(plan, record, follower)
        with suppress(StoppedError):
            run_search(search, Dispatcher(record, InstantPool(stop_after=stop_after)))
    return follower


def searching(plan: Plan, record: Record, follower: Follower) -> Search:
    state = record.state
    search = Search(
        record=record,
        build_controller=lambda: CONTROLLERS["nsga2"].build(plan.space.n_dims, 16, 0),
        space=plan.space,
        window=Window(
            WINDOW,
            plan.experiment.budget.evaluations,
            asked=state.n_asked,
            told=state.told_numbers,
        ),
        objectives=objectives_of(plan, state),
        items=plan.search_items,
        seed=0,
        on_told=follower.on_told,
    )
    search.replay()
    return search


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Follower]:
    """A search that nothing disturbed, and what followed it."""
    run_dir = tmp_path_factory.mktemp("smooth")
    return run_dir, go_on(run_dir)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the same search, killed four times and resumed."""
    run_dir = tmp_path_factory.mktemp("stopped")
    for _ in range(N_STOPS):
        go_on(run_dir, N_STOPPED, stop_after=N_STOPPED // (N_STOPS + 1))
    go_on(run_dir, N_STOPPED)
    return run_dir


def events_of(run_dir: Path) -> Iterator[Event]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        yield from journal.replay()


def told_in(run_dir: Path) -> list[tuple[int, str]]:
    return [(e.number, e.candidate_id) for e in events_of(run_dir) if isinstance(e, Told)]


def plain(progress: Progress) -> tuple[object, ...]:
    """All of it but the time."""
    return (progress.n_done, progress.best, progress.hypervolume, progress.n_front)


@pytest.mark.timeout(1200)
def test_each_of_ten_thousand_candidates_is_told_once(smooth: tuple[Path, Follower]) -> None:
    run_dir, follower = smooth
    kinds = Counter(type(event).__name__ for event in events_of(run_dir))
    told = [event.number for event in events_of(run_dir) if isinstance(event, Told)]
    assert told == list(range(N_EVALUATIONS))
    assert kinds["Asked"] == kinds["Proposed"] == kinds["Scored"] + kinds["Failed"] == N_EVALUATIONS
    assert follower.shown[-1].n_done == N_EVALUATIONS


def test_memory_grows_by_less_than_200_mb(smooth: tuple[Path, Follower]) -> None:
    resident = smooth[1].resident_mb
    assert resident[-1] - resident[SETTLED] < 200


def test_the_last_candidates_cost_the_journal_what_the_first_did(
    smooth: tuple[Path, Follower],
) -> None:
    run_dir, follower = smooth
    commits = follower.commits[::1000]
    steps = [later - earlier for earlier, later in pairwise(commits)]
    assert all(abs(step - 4 * 1000) <= WINDOW for step in steps)  # asked, proposed, scored, told
    payloads = [len(codec.encode(event)) for event in events_of(run_dir)]
    first, last = sum(payloads[1:4001]), sum(payloads[-4000:])
    assert last == pytest.approx(first, rel=0.1)
    assert (run_dir / "journal.db").stat().st_size < 3_000 * N_EVALUATIONS


def test_killed_four_times_it_is_the_same_search(
    smooth: tuple[Path, Follower], stopped: Path
) -> None:
    assert told_in(stopped) == told_in(smooth[0])[:N_STOPPED]


def test_a_resumed_spectator_knows_what_the_first_one_saw(smooth: tuple[Path, Follower]) -> None:
    run_dir, first = smooth
    again = go_on(run_dir)
    assert again.commits == []  # nothing was left to do
    assert list(map(plain, again.shown)) == list(map(plain, first.shown))


def test_status_and_front_are_those_of_the_spectator(smooth: tuple[Path, Follower]) -> None:
    run_dir, follower = smooth
    last, status = follower.shown[-1], status_of(run_dir)
    shown: Comparison = comparison_of(run_dir)
    assert (status["n_told"], status["n_front"]) == (N_EVALUATIONS, last.n_front)
    assert (status["best"], status["hypervolume"]) == (last.best, last.hypervolume)
    assert len(shown.front) == last.n_front
    assert len(shown.front) + len(shown.dominated) + status["n_failed"] == N_EVALUATIONS
