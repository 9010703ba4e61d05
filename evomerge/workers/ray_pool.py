"""The pool of workers on a Ray cluster, each in a process of its own."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ray

from evomerge.journal.spool import Spool
from evomerge.records import Job, Result
from evomerge.workers.actor import launch
from evomerge.workers.cluster import node_resources
from evomerge.workers.evaluator import Evaluator, failure
from evomerge.workers.remote_worker import Finished, RemoteWorker, Stage, WorkerGoneError
from evomerge.workers.resources import WorkerResources
from evomerge.workers.staff import Slot, Staff

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""Seconds beyond its timeout after which a worker that has not noticed it is killed."""
PREFETCH_BELOW_S = 2.0
"""Typical seconds of a job up to which a second one is sent along.

It spares a fast worker the wait for the driver; a slow one would keep it from others that are idle.
"""
JOBS_PER_WORKER = 2
LONGEST_WAIT_S = 1.0
"""Seconds between two looks at deadlines, starts and nodes."""


class RayPool:
    """Gives jobs to the workers that are ready, idle ones first, and keeps the workers alive.

    Args:
        factory: builds an evaluator, in the worker's process.
        workers: how many; None for as many as the cluster holds from time to time.
        resources: what one worker takes.
        timeout_s: seconds that one job may take; None for no limit. The evaluator should keep it by
            itself; `grace_s` later its process is killed.
        spool: folder in which workers leave their results.
        environment: variables of the workers' processes.
        patience_s: how long the cluster may have no room for a single worker.
        release: called when the pool is closed.
    """

    def __init__(
        self,
        factory: Callable[[], Evaluator],
        *,
        workers: int | None = None,
        resources: WorkerResources | None = None,
        timeout_s: float | None = None,
        grace_s: float = GRACE_S,
        spool: Path | None = None,
        environment: Mapping[str, str] | None = None,
        patience_s: float = 600.0,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        taken = resources or WorkerResources()

        def hire() -> RemoteWorker:
            return RemoteWorker(launch(spool, taken, environment or {}), factory)

        self._staff = Staff(hire, node_resources, resources=taken, n=workers, patience_s=patience_s)
        self._longest_s = math.inf if timeout_s is None else timeout_s + grace_s
        self._timeout_s = timeout_s
        self._spool = None if spool is None else Spool(spool)
        self._release = release
        self._waiting: deque[Job] = deque()
        self._results: deque[Result] = deque()
        self._typical_s = math.inf
        self._closed = False
        self._prepare_spool()
        self._staff.tend()

    def free(self) -> int:
        """How many more jobs keep every worker, come up or not, in work."""
        return max(0, JOBS_PER_WORKER * len(self._staff.slots) - self._n_under_way)

    def submit(self, job: Job) -> None:
        """Queue a job, or send it at once to a worker that is ready."""
        self._waiting.append(job)
        self._hand_out()

    def finished(self) -> Iterator[Result]:
        """Wait for one result, then yield all that are there.

        Raises:
            InfrastructureError: there is no worker, and none can be expected.
        """
        while not self._results and self._n_under_way:
            self._tend()
            if not self._results:
                self._wait()
        while self._results:
            yield self._results.popleft()

    def close(self) -> None:
        """Kill the workers with whatever they are doing."""
        if self._closed:
            return
        self._closed = True
        self._waiting.clear()
        self._results.clear()
        self._staff.dismiss_all()
        self._release()

    def _prepare_spool(self) -> None:
        if self._spool is not None:
            try:
                self._spool.prepare()
            except OSError as error:  # it only spares work if this process dies
                log.warning("results are not spooled: %s", error)

    @property
    def _n_under_way(self) -> int:
        given = sum(len(slot.worker.jobs) for slot in self._staff.slots if slot.worker)
        return len(self._waiting) + given

    def _tend(self) -> None:
        """Take in what came, deal with what did not, and hand out what there is."""
        for slot in self._staff.slots:
            self._take_in(slot)
        for slot in self._staff.slots:
            if slot.worker and slot.worker.jobs and slot.worker.busy_s > self._longest_s:
                limit = f"did not end within {self._timeout_s:g} s; its worker was killed"
                self._lose(slot, slot.worker, "timeout", WorkerGoneError(limit))
        self._staff.tend()
        self._hand_out()

    def _take_in(self, slot: Slot) -> None:
        while slot.worker and slot.worker.answered():
            try:
                finished = slot.worker.step()
            except WorkerGoneError as error:
                self._lose(slot, slot.worker, "worker_died", error)
                continue
            if finished:
                self._accept(finished)
            elif slot.stage is Stage.READY:
                slot.n_failed_starts = 0

    def _accept(self, finished: Finished) -> None:
        self._results.append(finished.result)
        before = finished.seconds if math.isinf(self._typical_s) else self._typical_s
        self._typical_s = 0.8 * before + 0.2 * finished.seconds

    def _lose(self, slot: Slot, worker: RemoteWorker, reason: str, error: WorkerGoneError) -> None:
        """Empty the slot; its running job failed unless it is in the spool, others wait again."""
        worker.kill()
        if worker.stage is not Stage.READY:
            log.warning("a worker did not start: %s", error)
            slot.start_failed(error)
            return
        slot.worker = None
        log.warning("worker %s is lost and will be replaced: %s", worker.name, error)
        if worker.jobs:
            running, *prefetched = worker.jobs
            self._waiting.extendleft(reversed(prefetched))
            spooled = self._spool.find(running) if self._spool else None
            self._results.append(spooled or failure(running, reason, str(error), worker.name))

    def _hand_out(self) -> None:
        """Send waiting jobs to idle workers, then a second one each while jobs are short."""
        n_most = JOBS_PER_WORKER if self._typical_s < PREFETCH_BELOW_S else 1
        for n_has in range(n_most):
            for worker in self._staff.ready():
                if self._waiting and len(worker.jobs) == n_has:
                    worker.give(self._waiting.popleft())

    def _wait(self) -> None:
        """Until a worker answers, or it is time to look around."""
        workers = [slot.worker for slot in self._staff.slots if slot.worker]
        heads = [worker.head for worker in workers if worker.head is not None]
        left = [self._longest_s - worker.busy_s for worker in workers if worker.jobs]
        pause = max(0.01, min([LONGEST_WAIT_S, *left]))
        if heads:
            ray.wait(heads, num_returns=1, timeout=pause)
        else:
            time.sleep(pause)
