"""Clocks around the parts of a search, which otherwise run as they are."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from evomerge.journal.events import Event
from evomerge.journal.journal import Journal
from evomerge.records import Job, Outcome, Result
from evomerge.search.controller import Controller
from evomerge.workers.pool import Pool


class Clocks:
    """Wall and processor seconds spent so far, by the name of a part."""

    def __init__(self) -> None:
        self._start = self._now()
        self._spent: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Count the block's time for a part."""
        start = self._now()
        try:
            yield
        finally:
            self._spent[part] += self._now() - start

    def read(self, *parts: str) -> list[float]:
        """Milliseconds of all but the pool and the benchmark, wall and processor; then the parts'.

        The parts' are wall time.
        """
        wall, processor = self._now() - self._start - self._spent["pool"] - self._spent["aside"]
        return [1e3 * t for t in (wall, processor, *(self._spent[part][0] for part in parts))]

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])


class TimedController:
    """A controller whose asks and tells are timed."""

    def __init__(self, controller: Controller, clocks: Clocks) -> None:
        self._controller, self._clocks = controller, clocks

    def ask(self, number: int, rng: np.random.Generator) -> np.ndarray:
        with self._clocks.running("ask"):
            return self._controller.ask(number, rng)

    def tell(self, outcome: Outcome) -> None:
        with self._clocks.running("tell"):
            self._controller.tell(outcome)


class TimedJournal:
    """A journal whose appends are timed."""

    def __init__(self, journal: Journal, clocks: Clocks) -> None:
        self._journal, self._clocks = journal, clocks
        self.replay = journal.replay

    def append(self, *events: Event) -> tuple[Event, ...]:
        with self._clocks.running("journal"):
            return self._journal.append(*events)


class TimedPool:
    """A pool whose own time is counted, so that it can be left out."""

    def __init__(self, pool: Pool, clocks: Clocks) -> None:
        self._pool, self._clocks = pool, clocks
        self.free, self.close = pool.free, pool.close

    def submit(self, job: Job) -> None:
        with self._clocks.running("pool"):
            self._pool.submit(job)

    def finished(self) -> Iterator[Result]:
        results = self._pool.finished()
        while True:
            with self._clocks.running("pool"):
                result = next(results, None)
            if result is None:
                return
            yield result


class BareTable:
    """The least that a durable record can cost: one row of 500 bytes, one commit."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text)")

    def insert(self) -> None:
        """Write a row; it is on the disk when this returns."""
        self._connection.execute("INSERT INTO rows (text) VALUES (?)", ("x" * 500,))
