"""The faults, each as a function that does the harm and tells what became of the search."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evomerge.errors import JournalError
from evomerge.journal.events import Scored
from evomerge.journal.spool import Spool
from evomerge.workers.evaluator import Evaluator
from evomerge.workers.ray_pool import RayPool
from tests.chaos.disk import enlarge, small_disk
from tests.chaos.evaluators import Misbehaving, Waiting
from tests.chaos.killer import killing_workers
from tests.chaos.made_up import Account, events_of, run_in
from tests.cluster.two_nodes import two_nodes

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Report:
    """What became of a search under a fault; `undisturbed_s` is the same search without it."""

    fault: str
    load: str
    account: Account
    n_expected: int
    seconds: float
    n_struck: int
    undisturbed_s: float | None = None

    @property
    def lost(self) -> int:
        """Candidates that have no outcome."""
        return self.n_expected - len(set(self.account.told))


def timed(
    folder: Path, factory: Callable[[], Evaluator], n: int, **options: Any
) -> tuple[Account, float]:
    """A whole search in a new folder with a pool of its own, and how long it took."""
    folder.mkdir()
    spool = Spool(folder / "spool")
    start = time.monotonic()
    pool = RayPool(factory, spool=spool.folder, **options)
    try:
        account = run_in(folder / "journal.db", pool, n, spool=spool, mode="async")
    finally:
        pool.close()
    return account, time.monotonic() - start


def workers_killed(
    folder: Path, *, n: int = 300, workers: int = 4, every_s: float = 5.0, compare: bool = True
) -> Report:
    """A random worker dies by SIGKILL every few seconds; `compare` runs it undisturbed as well."""
    factory = partial(Waiting, 1.0)
    undisturbed_s = None
    if compare:
        _, undisturbed_s = timed(folder / "undisturbed", factory, n, workers=workers)
    with killing_workers(every_s) as killed:
        account, took = timed(folder / "killed", factory, n, workers=workers)
    return Report(
        f"a random worker killed every {every_s:g} s",
        f"{n} evaluations of 1 s on {workers} workers",
        account,
        n,
        took,
        len(killed),
        undisturbed_s,
    )


def driver_killed(
    folder: Path, *, n: int = 120, n_kills: int = 10, seconds: float = 0.5, workers: int = 4
) -> Report:
    """The driver dies by SIGKILL again and again, and goes on from its directory each time."""
    rng = random.Random(0)  # noqa: S311 - when it dies is no secret
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.chaos.driver", str(folder)]
    command += ["--evaluations", str(n), "--workers", str(workers), "--seconds", str(seconds)]
    start = time.monotonic()
    for _ in range(n_kills):
        with subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True) as driver:
            _wait_for(folder / "journal.db", rng.randint(1, n // n_kills - 4), driver)
            os.killpg(driver.pid, signal.SIGKILL)
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300)
    took = time.monotonic() - start
    account = Account.of(events_of(folder / "journal.db"))
    load = f"{n} evaluations of {seconds:g} s on {workers} workers"
    return Report(f"the driver killed {n_kills} times", load, account, n, took, n_kills)


def candidates_struck(folder: Path, fault: str, *, n: int = 60, workers: int = 4) -> Report:
    """One recipe in ten kills its worker, hangs, or scores NaN, whenever it is tried."""
    factory: Callable[[], Evaluator] = partial(Misbehaving, fault)
    limits = {"timeout_s": 2.0, "grace_s": 1.0}
    account, took = timed(folder / fault, factory, n, workers=workers, **limits)
    names = {"death": "kills its worker", "hang": "hangs", "nan": "scores NaN"}
    load = f"{n} evaluations on {workers} workers"
    n_struck = len(account.told) - account.scored
    return Report(f"one recipe in ten {names[fault]}", load, account, n, took, n_struck)


def disk_full(folder: Path, *, n: int = 150, workers: int = 2) -> Report:
    """The disk under the journal fills up in the middle; then there is room again."""
    start = time.monotonic()
    command = [sys.executable, "-m", "tests.chaos.driver", str(folder / "disk")]
    command += ["--evaluations", str(n), "--workers", str(workers), "--seconds", "0"]
    with small_disk(folder / "disk", "2m") as disk:
        stopped = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        if stopped.returncode == 0 or "the disk is full" not in stopped.stderr:
            raise AssertionError(f"the disk did not fill up: {stopped.stderr[-2000:]}")
        before = n_scored(disk / "journal.db")
        enlarge(disk, "20m")
        subprocess.run(command, cwd=REPOSITORY, check=True, timeout=300)
        account = Account.of(events_of(disk / "journal.db"))
    took = time.monotonic() - start
    return Report("the disk full", f"after {before} of {n} evaluations", account, n, took, 1)


def node_lost(folder: Path, *, n: int = 80, seconds: float = 1.0) -> Report:
    """One of two nodes is gone at once, and another joins later."""
    (folder / "nodes").mkdir()
    start = time.monotonic()
    with two_nodes(folder / "nodes") as nodes:
        nodes.add_worker_node()
        command = [sys.executable, "-m", "tests.chaos.driver", str(folder / "search")]
        command += ["--evaluations", str(n), "--workers", "4", "--seconds", str(seconds)]
        command += ["--address", nodes.address]
        (folder / "search").mkdir()
        with subprocess.Popen(command, cwd=REPOSITORY, env=nodes.environment) as driver:
            _wait_for(folder / "search" / "journal.db", n // 4, driver)
            nodes.kill_worker_node()
            _wait_for(folder / "search" / "journal.db", n // 4, driver)
            nodes.add_worker_node()
            if driver.wait(timeout=300) != 0:
                raise AssertionError(f"the driver ended with {driver.returncode}")
    account = Account.of(events_of(folder / "search" / "journal.db"))
    took = time.monotonic() - start
    load = f"{n} evaluations of {seconds:g} s on two worker nodes of two workers"
    return Report("a node lost, another joining", load, account, n, took, 1)


def n_scored(path: Path) -> int:
    """How many results a journal holds, read beside its writer."""
    try:
        return sum(isinstance(event, Scored) for event in events_of(path))
    except JournalError:
        return 0


def _wait_for(path: Path, n_more: int, driver: subprocess.Popen[bytes]) -> None:
    """Until the journal holds so many more results, or the driver is done."""
    wanted, end = n_scored(path) + n_more, time.monotonic() + 120
    while driver.poll() is None and n_scored(path) < wanted:
        if time.monotonic() > end:
            raise TimeoutError(f"the driver did not score {n_more} candidates in two minutes")
        time.sleep(0.05)
