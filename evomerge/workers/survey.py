"""Every node of a Ray cluster, described by a task that runs there."""

from collections.abc import Mapping
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from evomerge.workers.machine import Machine, describe

LONGEST_S = 600.0
"""Seconds within which a node must answer: reading all models takes a while."""


def survey(models: Mapping[str, Path]) -> dict[str, Machine | str]:
    """Each living node of the cluster that this process has joined, or why it is not described.

    Returns:
        by host name and the beginning of the node's id, the machine, or what went wrong in words.
    """
    asked = {
        f"{node['NodeManagerHostname']}/{node['NodeID'][:6]}": _ask(node["NodeID"], models)
        for node in ray.nodes()
        if node["Alive"]
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=LONGEST_S)
    return {name: _answer(reference) for name, reference in asked.items()}


def _ask(node: str, models: Mapping[str, Path]) -> "ray.ObjectRef":
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(describe).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    return task.remote(models)


def _answer(reference: "ray.ObjectRef") -> Machine | str:
    try:
        machine: Machine = ray.get(reference, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"did not answer within {LONGEST_S:.0f} s"
    except ray.exceptions.RayTaskError as error:
        return f"{type(error.cause).__name__}: {error.cause}"
    except ray.exceptions.RayError as error:
        return str(error).strip().splitlines()[-1]
    return machine
