"""What the controller costs in a long search: 10,000 evaluations by workers that answer at once.

    python experiments/benchmarks/controller/run.py [--controllers nsga2 random] [--windows 8 64]
        [--evaluations 10000] [--groups 8] [--stops 0] [--dir DIR] [--json]

The real journal, loop, dispatcher, controller and spectator; only the models are a formula, whose
time is left out. A candidate's time is the wall time from one told outcome to the next, so that it
holds every commit (four a candidate), in milliseconds. Each search, and each resume of what it
leaves behind as a kill would, is a process of its own; with `--stops N` the search is killed and
resumed N times on its way. `insert` is a row of 500 bytes made durable in SQLite and nothing else,
once every ten candidates, under the same load of the disk. `cpu` is processor time, which other
work on the machine disturbs less.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from clocks import BareTable, Clocks, TimedController, TimedJournal, TimedPool
from instant import InstantPool, StoppedError, instant_plan

from evomerge.journal.events import Started
from evomerge.journal.journal import Journal
from evomerge.journal.state import RunState
from evomerge.records import Outcome
from evomerge.run.calibration import objectives_of
from evomerge.run.dispatch import Dispatcher
from evomerge.run.loop import Search, run_search
from evomerge.run.plan import Plan
from evomerge.run.reading import comparison_of, status_of
from evomerge.run.record import Record
from evomerge.run.view import Spectator, history
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS

PARTS = ("ask", "tell", "journal", "view")
N_TENTHS = 10
SETTLED = 500
"""Candidates after which the memory that everything starts with is there."""

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One search of the benchmark."""

    controller: str
    window: int
    n_evaluations: int
    n_groups: int
    n_stops: int

    @property
    def plan(self) -> Plan:
        return instant_plan(
            self.n_evaluations, self.n_groups, controller=self.controller, window=self.window
        )


@dataclass(frozen=True)
class Stretch:
    """What a process measured: milliseconds a candidate `(n, 2 + n_parts)`, resident bytes."""

    rows: list[list[float]]
    resident: list[int]
    insert_ms: list[float]


@dataclass(frozen=True)
class Resume:
    """Seconds until a killed run goes on, in parts, and what two commands that read it take."""

    replay_s: float
    controller_s: float
    history_s: float
    cpu_s: float
    status_s: float
    front_s: float
    n_told: int

    @property
    def total_s(self) -> float:
        return self.replay_s + self.controller_s + self.history_s


def main() -> None:
    """Print a table for each controller and window."""
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        reports = [
            measure(
                Case(name, window, options.evaluations, options.groups, options.stops),
                Path(folder) / f"{name}-{window}",
            )
            for name in options.controllers
            for window in options.windows
        ]
    if options.json:
        print(json.dumps({"rows": reports}))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--controllers", nargs="+", choices=CONTROLLERS, default=["nsga2", "random"]
    )
    parser.add_argument("--windows", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=8, help="layer groups, three genes each")
    parser.add_argument("--stops", type=int, default=0, help="kills on the way")
    parser.add_argument("--dir", type=Path, help="where the journals lie meanwhile")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def measure(case: Case, run_dir: Path) -> dict[str, object]:
    """Run one search to its end, resume it, print what that took."""
    run_dir.mkdir()
    resumes = []
    stretches = []
    for stop in range(case.n_stops + 1):
        if stop:
            resumes.append(apart(resume, case, killed(run_dir)))
        stretches.append(apart(search, case, run_dir, stop))
    resumes.append(apart(resume, case, killed(run_dir)))
    size = sum(path.stat().st_size for path in run_dir.glob("journal.db*"))
    return report(case, stretches, resumes, size)


def apart(work: Callable[..., T], *arguments: object) -> T:
    """The result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(work, *arguments).result()


def killed(run_dir: Path) -> Path:
    """What lies in the directory, under the name of a run of its own."""
    return run_dir / "killed"


def search(case: Case, run_dir: Path, stop: int) -> Stretch:
    """Go on with the search until its end or until its next kill; leave a copy as a kill would."""
    plan, clocks, bare = case.plan, Clocks(), BareTable(run_dir / "bare.db")
    rows, resident, inserts = [], [], []
    left = None if stop == case.n_stops else case.n_evaluations // (case.n_stops + 1)
    path = run_dir / "journal.db"
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        record = Record(TimedJournal(journal, clocks))
        if record.state.started is None:
            record.append(Started(plan.to_json(), plan.digest, "benchmark", {}))
        spectator, _ = past(plan, record.state)

        def on_told(outcome: Outcome) -> None:
            with clocks.running("view"):
                spectator.see(outcome, record.state.time_s)
            with clocks.running("aside"):
                rows.append(clocks.read(*PARTS))
                resident.append(psutil.Process().memory_info().rss)
                if len(rows) % 10 == 0:
                    inserts.append(1e3 * seconds(bare.insert))

        pool = TimedPool(InstantPool(stop_after=left), clocks)
        with suppress(StoppedError):
            run_search(
                searching(plan, record, clocks, on_told),
                Dispatcher(record, pool),
            )
        shutil.rmtree(killed(run_dir), ignore_errors=True)
        killed(run_dir).mkdir()
        for file in run_dir.glob("journal.db*"):
            shutil.copyfile(file, killed(run_dir) / file.name)
    return Stretch(np.diff(rows, axis=0).tolist(), resident, inserts)


def searching(
    plan: Plan, record: Record, clocks: Clocks, on_told: Callable[[Outcome], None]
) -> Search:
    """The search as `run.session` sets it up, its controller timed."""
    settings, state = plan.experiment.search, record.state
    build = CONTROLLERS[settings.controller].build
    result = Search(
        record=record,
        build_controller=lambda: TimedController(
            build(plan.space.n_dims, settings.population, plan.experiment.seed), clocks
        ),
        space=plan.space,
        window=Window(
            settings.window,
            plan.experiment.budget.evaluations,
            plan.experiment.mode,
            asked=state.n_asked,
            told=state.told_numbers,
        ),
        objectives=objectives_of(plan, state),
        items=plan.search_items,
        seed=plan.experiment.seed,
        on_told=on_told,
    )
    result.replay()
    return result


def past(plan: Plan, state: RunState) -> tuple[Spectator, int]:
    """A spectator brought up to date as `run.session` does, and how many outcomes it saw."""
    objectives = objectives_of(plan, state)
    spectator = Spectator(state, objectives, plan.experiment.budget.evaluations)
    return spectator, len(history(state, objectives, spectator))


def resume(case: Case, run_dir: Path) -> Resume:
    """Open what a killed run left, up to where it would go on; then read it as the commands do."""
    plan = case.plan
    start, start_cpu = time.perf_counter(), time.process_time()
    with Journal.open(run_dir / "journal.db") as journal:
        record = Record(journal)
        replayed = time.perf_counter()
        searching(plan, record, Clocks(), lambda _: None)
        rebuilt = time.perf_counter()
        _, n_told = past(plan, record.state)
        done, done_cpu = time.perf_counter(), time.process_time()
    return Resume(
        replay_s=replayed - start,
        controller_s=rebuilt - replayed,
        history_s=done - rebuilt,
        cpu_s=done_cpu - start_cpu,
        status_s=seconds(lambda: status_of(run_dir)),
        front_s=seconds(lambda: comparison_of(run_dir)),
        n_told=n_told,
    )


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(
    case: Case, stretches: list[Stretch], resumes: list[Resume], size: int
) -> dict[str, object]:
    """Print one search's table; the same as JSON values."""
    rows = np.concatenate([stretch.rows for stretch in stretches])  # (n, 2 + n_parts)
    tenths = [quantiles(tenth) for tenth in np.array_split(rows, N_TENTHS)]
    growth = [
        (stretch.resident[-1] - stretch.resident[min(SETTLED, len(stretch.resident) - 1)]) / 1e6
        for stretch in stretches
    ]
    insert = np.quantile(np.concatenate([s.insert_ms for s in stretches]), [0.5, 0.95, 0.99])
    print(
        f"\n{case.controller}, window {case.window}, {case.n_evaluations} evaluations, "
        f"{case.plan.space.n_dims} genes, {case.n_stops} kills; milliseconds a candidate"
    )
    heads = "".join(f"{name:>14}" for name in ("cpu", *PARTS))
    print(f"{'tenth':>6} {'p50':>7} {'p95':>7} {'p99':>7}{heads}")
    for number, tenth in enumerate([*tenths, quantiles(rows)], start=1):
        name = str(number) if number <= N_TENTHS else "all"
        total, *parts = tenth.values()
        columns = "".join(f"{p50:7.2f}/{p95:6.2f}" for p50, p95, _ in parts)
        print(f"{name:>6} {total[0]:7.2f} {total[1]:7.2f} {total[2]:7.2f}{columns}")
    print(f"insert {insert[0]:7.2f} {insert[1]:7.2f} {insert[2]:7.2f}   (cpu and parts: p50/p95)")
    print(
        f"memory growth {', '.join(f'{mb:.0f}' for mb in growth)} MB after the first {SETTLED}; "
        f"journal {size / 1e6:.1f} MB"
    )
    for done in resumes:
        print(
            f"resume at {done.n_told}: {done.total_s:.2f} s, cpu {done.cpu_s:.2f} s "
            f"(replay {done.replay_s:.2f}, controller {done.controller_s:.2f}, "
            f"history {done.history_s:.2f}); status {done.status_s:.2f} s, "
            f"front {done.front_s:.2f} s"
        )
    return {
        **asdict(case),
        "n_dims": case.plan.space.n_dims,
        "tenths": tenths,
        "all": quantiles(rows),
        "insert_ms": insert.tolist(),
        "memory_growth_mb": growth,
        "journal_mb": size / 1e6,
        "resumes": [{**asdict(done), "total_s": done.total_s} for done in resumes],
    }


def quantiles(rows: np.ndarray) -> dict[str, list[float]]:
    """The 50th, 95th and 99th percentile of the whole time and of each part."""
    return {
        name: np.quantile(rows[:, column], [0.5, 0.95, 0.99]).round(4).tolist()
        for column, name in enumerate(("total", "cpu", *PARTS))
    }


if __name__ == "__main__":
    main()
