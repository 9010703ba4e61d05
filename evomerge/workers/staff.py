"""The workers of a pool: as many as wanted or as the cluster holds, replaced when they are lost."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evomerge.errors import InfrastructureError
from evomerge.workers.remote_worker import RemoteWorker, Stage
from evomerge.workers.resources import WorkerResources, capacity

log = logging.getLogger(__name__)

RECOUNT_S = 5.0
"""Seconds between two looks at the nodes of the cluster."""
FIRST_WORD_S = 10.0
"""Seconds until it is said that workers wait for room; said again after twice as long."""
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
    last_error: str = ""
    pause_until: float = 0.0

    @property
    def stage(self) -> Stage | None:
        """The stage of its worker; None while there is none."""
        return self.worker.stage if self.worker else None

    def start_failed(self, error: str) -> None:
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
        self._all_placed_at = self._some_placed_at = time.monotonic()
        self._next_word_s = FIRST_WORD_S
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
        self._watch_for_room()
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
        wanted = self._n or max(1, capacity(self._nodes(), self._resources))
        surplus = len(self.slots) - wanted
        for slot in [slot for slot in self.slots if slot.stage is not Stage.READY][
            : max(0, surplus)
        ]:
            if slot.worker:
                slot.worker.kill()
            self.slots.remove(slot)
        self.slots.extend(Slot() for _ in range(wanted - len(self.slots)))
        self._recount_at = time.monotonic() + RECOUNT_S

    def _watch_for_room(self) -> None:
        """Note since when workers wait for room, and say so now and then."""
        stages = Counter(slot.stage for slot in self.slots)
        now = time.monotonic()
        if stages[Stage.LOADING] or stages[Stage.READY]:
            self._some_placed_at = now
        if not stages[Stage.PENDING]:
            self._all_placed_at, self._next_word_s = now, FIRST_WORD_S
        elif now - self._all_placed_at > self._next_word_s:
            self._next_word_s *= 2
            log.warning(
                "%d of %d workers wait for room: each takes %s; the nodes have %s in all",
                stages[Stage.PENDING],
                len(self.slots),
                self._resources,
                _listing(self._nodes()),
            )

    def _require_hope(self) -> None:
        if any(slot.stage in (Stage.READY, Stage.LOADING) for slot in self.slots):
            return
        hopeless = [slot for slot in self.slots if slot.n_failed_starts >= MOST_FAILED_STARTS]
        if hopeless:
            raise InfrastructureError(
                f"no worker could be started: {hopeless[0].n_failed_starts} starts in a row "
                f"failed, the last with {hopeless[0].last_error}; `evomerge doctor` checks models, "
                "tasks and memory on every node"
            )
        waited = time.monotonic() - self._some_placed_at
        if waited > self._patience_s and not capacity(self._nodes(), self._resources):
            raise InfrastructureError(
                f"no node of the cluster had room for one worker for {waited:.0f} s: it takes "
                f"{self._resources}, and the nodes have {_listing(self._nodes())} in all; ask for "
                "less per worker or add such a node, then resume (`evomerge doctor` lists nodes)"
            )


def _listing(nodes: NodeResources) -> str:
    """What matters of the nodes' resources, node by node, for a message."""
    return " | ".join(
        ", ".join(f"{name} {n:g}" for name, n in sorted(node.items()) if not _internal(name))
        for node in nodes
    )


def _internal(name: str) -> bool:
    """Whether Ray made the resource for itself."""
    return name.startswith("node:") or name == "object_store_memory"
