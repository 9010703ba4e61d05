"""Between the loop and the pool: jobs go out and results come back, each journaled first."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from evomerge.journal.events import Lost, Proposed
from evomerge.journal.state import ResultKey
from evomerge.records import Failure, Job, Result
from evomerge.run.record import Record
from evomerge.workers.pool import Pool

MAX_ATTEMPTS = 3
"""How often a candidate may cost a worker its life before it counts as failed."""


class Dispatcher:
    """Hands jobs out and takes results back; a job whose worker was lost is handed out again.

    How often that happened stands in the journal, so that a candidate that kills its workers is
    given up after three of them, even when the driver died in between.

    Args:
        on_recorded: told of each result that is durable in the journal now.
    """

    def __init__(
        self,
        record: Record,
        pool: Pool,
        jobs: Iterable[Job] = (),
        on_recorded: Callable[[Result], None] = lambda _: None,
    ) -> None:
        self._record = record
        self._pool = pool
        self._on_recorded = on_recorded
        self._waiting: deque[Job] = deque()
        self._open: dict[ResultKey, Job] = {}
        self.add(jobs)

    @property
    def n_open(self) -> int:
        """How many jobs have no result yet."""
        return len(self._open)

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue the jobs that have no result yet, each once."""
        known = self._record.state.results
        for job in jobs:
            key = (job.candidate_id, job.phase)
            if key not in known and key not in self._open:
                self._open[key] = job
                self._waiting.append(job)

    def results(self) -> Iterator[Result]:
        """Hand out what the pool takes, wait, and yield each result once it is journaled."""
        self._hand_out()
        for result in self._pool.finished():
            key = (result.candidate_id, result.phase)
            if isinstance(result, Failure) and self._deserves_another_try(result):
                self._record.append(Lost(result))
                self._waiting.appendleft(self._open[key])
                continue
            self._record.append_result(result)
            del self._open[key]
            self._on_recorded(result)
            yield result

    def _hand_out(self) -> None:
        while self._waiting and self._pool.free():
            job = self._waiting.popleft()
            self._record.append(Proposed(job.candidate_id, job.phase))
            self._pool.submit(job)

    def _deserves_another_try(self, failure: Failure) -> bool:
        n_lost = self._record.state.n_lost[(failure.candidate_id, failure.phase)]
        return failure.is_loss and n_lost + 1 < MAX_ATTEMPTS
