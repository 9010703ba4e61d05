"""What one worker takes of a cluster, and how many a cluster holds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WorkerResources:
    """What Ray sets aside for one worker.

    Args:
        num_cpus: cores; the accounting of Ray, not a limit.
        num_gpus: accelerators; a fraction lets several workers share one, whose memory they must
            then share on their own.
        memory_bytes: main memory; None leaves it out of the accounting.
        custom: amounts of custom resources by name, such as those of one kind of nodes.
    """

    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory_bytes: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    def amounts(self) -> dict[str, float]:
        """Every amount above zero by the name that Ray counts it under."""
        amounts = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory_bytes or 0}
        return {name: n for name, n in {**amounts, **self.custom}.items() if n > 0}

    def __str__(self) -> str:
        return listing(self.amounts()) or "nothing"


def listing(amounts: Mapping[str, float]) -> str:
    """Amounts of resources for a message; memory in the 10⁹ bytes that an experiment file uses."""
    return ", ".join(
        f"memory {amount / 1e9:.3g} GB" if name == "memory" else f"{name} {amount:g}"
        for name, amount in amounts.items()
    )


def capacity(nodes: Iterable[Mapping[str, float]], worker: WorkerResources) -> int:
    """How many such workers fit on nodes of these total resources; a worker does not span nodes.

    A worker that takes nothing would fit without end: it counts as one a node.
    """
    amounts = worker.amounts()
    return sum(
        min((_times(node.get(name, 0.0), n) for name, n in amounts.items()), default=1)
        for node in nodes
    )


def _times(total: float, amount: float) -> int:
    """How often the amount fits; a third fits three times into one, whatever the rounding."""
    return int(total / amount + 1e-9)
