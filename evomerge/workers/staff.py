"""The workers of a pool: as many as wanted or as the cluster holds, replaced when they are lost."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evomerge.errors import InfrastructureError
from evomerge.workers.remote_worker import (
    RemoteWorker,
    Stage,
    WorkerGoneError,
    WorkerRefusedError,
)
from evomerge.workers.resources import WorkerResources, capacity, listing

log = logging.getLogger(__name__)

RECOUNT_S = 5.0
"""Seconds between two looks at the nodes of the cluster."""
LATE_S = {Stage.PENDING: 10.0, Stage.LOADING: 120.0}
"""Seconds in a stage after which a worker is late."""
FIRST_SILENCE_S = 20.0
"""Seconds until it is said again that workers are late; the next time after twice as long."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Seconds until a failed start is tried again; each failure in a row doubles them."""
MOST_FAILED_STARTS = 3

NodeResources = Sequence[Mapping[str, float]]
"""The total resources of each living node."""


@dataclass
class Slot:
    """A place for one worker, and how its latest starts went."""

    worker: RemoteWorker | None = None
    n_failed_starts: int = 0
    last_error: WorkerGoneError | None = None
    pause_until: float = 0.0

    @property
    def stage(self) -> Stage | None:
        """The stage of its worker; None while there is none."""
        return self.worker.stage if self.worker else None

    @property
    def hopeless(self) -> bool:
        """Whether another start would most likely fail as the latest ones did."""
        return self.n_failed_starts >= MOST_FAILED_STARTS

    @property
    def refused(self) -> bool:
        """Whether its latest start failed for a reason that is no accident."""
        return self.n_failed_starts > 0 and isinstance(self.last_error, WorkerRefusedError)

    def start_failed(self, error: WorkerGoneError) -> None:
        """Empty the slot, for longer from failure to failure."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self.n_failed_starts)
        self.worker, self.last_error = None, error
        self.n_failed_starts += 1
        self.pause_until = time.monotonic() + pause


class Staff:
    """Slots, each kept filled.

    Args:
        hire: asks the cluster for a worker.
        nodes: looks at the cluster.
        resources: what one worker takes.
        n: workers wanted; None for as many as the cluster holds from time to time, at least one.
        patience_s: how long a cluster may have no room for a single worker.
    """

    def __init__(
        self,
        hire: Callable[[], RemoteWorker],
        nodes: Callable[[], NodeResources],
        *,
        resources: WorkerResources,
        n: int | None,
        patience_s: float,
    ) -> None:
        self._hire = hire
        self._nodes = nodes
        self._resources = resources
        self._n = n
        self._patience_s = patience_s
        self._recount_at = 0.0
        self._some_placed_at = time.monotonic()
        self._next_word_at = self._silence_s = 0.0
        self.slots: list[Slot] = []

    def tend(self) -> None:
        """Have as many slots as there should be, and a worker in each.

        Raises:
            InfrastructureError: there is no worker, and none can be expected.
        """
        if time.monotonic() >= self._recount_at:
            self._recount()
        for slot in self.slots:
            if slot.worker is None and time.monotonic() >= slot.pause_until:
                slot.worker = self._hire()
        self._mention_the_late()
        self._require_hope()

    def ready(self) -> list[RemoteWorker]:
        """The workers that take jobs."""
        return [slot.worker for slot in self.slots if slot.worker and slot.stage is Stage.READY]

    def dismiss_all(self) -> None:
        """Kill every worker, at whatever stage."""
        for slot in self.slots:
            if slot.worker:
                slot.worker.kill()
        self.slots.clear()

    def _recount(self) -> None:
        """Look at the nodes; give back the slots that they have no room for, or add some."""
        n_fitting = capacity(self._nodes(), self._resources)
        wanted = self._n or max(1, n_fitting)
        idle = [slot for slot in self.slots if slot.stage is not Stage.READY]
        for slot in idle[: max(0, len(self.slots) - wanted)]:
            if slot.worker:
                slot.worker.kill()
            self.slots.remove(slot)
        self.slots.extend(Slot() for _ in range(wanted - len(self.slots)))
        self._recount_at = time.monotonic() + RECOUNT_S

    def _mention_the_late(self) -> None:
        """Say now and then that workers are late, and what they wait for."""
        late = Counter(
            slot.worker.stage.value
            for slot in self.slots
            if slot.worker and slot.worker.busy_s > LATE_S.get(slot.worker.stage, math.inf)
        )
        now = time.monotonic()
        if not late:
            self._silence_s = 0.0
        elif now >= self._next_word_at:
            self._silence_s = max(FIRST_SILENCE_S, 2 * self._silence_s)
            self._next_word_at = now + self._silence_s
            log.warning(
                "of %d workers %s; each takes %s, and the nodes have %s in all",
                len(self.slots),
                " and ".join(f"{n} are still {stage}" for stage, n in late.items()),
                self._resources,
                _listing(self._nodes()),
            )

    def _require_hope(self) -> None:
        if any(slot.stage in (Stage.READY, Stage.LOADING) for slot in self.slots):
            self._some_placed_at = time.monotonic()
            return
        failed = [slot for slot in self.slots if slot.hopeless]
        if all(slot.refused for slot in self.slots):
            failed = self.slots
        if failed:
            raise InfrastructureError(
                f"no worker could be started: {failed[0].n_failed_starts} starts in a row failed, "
                f"the last with {failed[0].last_error}; `evomerge doctor` checks models, tasks and "
                "memory on every node"
            )
        waited = time.monotonic() - self._some_placed_at
        if waited > self._patience_s and not capacity(self._nodes(), self._resources):
            raise InfrastructureError(
                f"no node of the cluster had room for one worker for {waited:.0f} s: it takes "
                f"{self._resources}, and the nodes have {_listing(self._nodes())} in all; add "
                "such a node and resume, or ask for less per worker and `evomerge run` the file "
                "again, which goes on (`evomerge doctor` lists nodes)"
            )


def _listing(nodes: NodeResources) -> str:
    """What matters of the nodes' resources, node by node, for a message."""
    return " | ".join(
        listing({name: n for name, n in sorted(node.items()) if not _internal(name)})
        for node in nodes
    )


def _internal(name: str) -> bool:
    """Whether Ray made the resource for itself."""
    return name.startswith("node:") or name == "object_store_memory"
