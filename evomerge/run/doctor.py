"""`doctor`: is everything there that a search needs, on this machine and on every node?"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from evomerge.config.read import read_experiment
from evomerge.errors import ConfigError
from evomerge.workers.machine import Machine, Sources, describe

FLOORS = {"ray": "2.54", "mlflow": "3.11", "torch": "2.10", "transformers": "5.3"}
"""Versions below which a package has a known hole: CVE-2026-27482 (ray), CVE-2026-4137 (mlflow),
CVE-2026-24747 (torch), CVE-2026-4372 (transformers)."""

LEAST_BYTES = 1 << 30
"""Free memory and free disk below which nothing runs well."""

HERE = "here"


@dataclass(frozen=True)
class Diagnosis:
    """Every machine that was asked, and everything that is wrong, in words."""

    machines: Mapping[str, Machine]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON values."""
        machines = {name: asdict(machine) for name, machine in self.machines.items()}
        return {"ok": not self.problems, "problems": list(self.problems), "machines": machines}


def diagnose(address: str | None, config: Path | None) -> Diagnosis:
    """Look at this machine, and at every node of the cluster at the address.

    Raises:
        ConfigError: the experiment file has problems of form.
        InfrastructureError: the cluster cannot be joined.
    """
    sources = _sources(config)
    machines: dict[str, Machine] = {HERE: describe(sources)}
    unknown: dict[str, str] = {}
    if address is not None:
        for name, found in _survey(address, sources).items():
            if isinstance(found, str):
                unknown[name] = found
            else:
                machines[name] = found
    problems = [*(f"{name}: {reason}" for name, reason in unknown.items()), *problems_of(machines)]
    return Diagnosis(machines, tuple(problems))


def problems_of(machines: Mapping[str, Machine]) -> list[str]:
    """What is wrong with each machine, and in what it differs from the one that is `HERE`."""
    return [
        problem
        for name, machine in machines.items()
        for problem in (*_alone(name, machine), *_beside(name, machine, machines[HERE]))
    ]


def _sources(config: Path | None) -> Sources:
    if config is None:
        return Sources({})
    reading = read_experiment(config)
    if reading.experiment is None or reading.problems:
        raise ConfigError(reading.problems)
    experiment = reading.experiment
    return Sources({"base": experiment.base, **experiment.experts}, experiment.tasks_path)


def _survey(address: str, sources: Sources) -> dict[str, Machine | str]:
    from evomerge.workers.cluster import connect
    from evomerge.workers.survey import survey

    cluster = connect(address)
    try:
        return survey(sources)
    finally:
        cluster.disconnect()


def _alone(name: str, machine: Machine) -> Iterator[str]:
    """What is wrong with a machine whatever the others are."""
    for package, found in machine.versions.items():
        floor = FLOORS.get(package)
        if found is None:
            yield f"{name}: {package} is not installed; install evomerge with constraints.txt there"
        elif floor and Version(found) < Version(floor):
            yield (
                f"{name}: {package} {found} has a known security hole, expected {floor} or newer; "
                "install the versions of constraints.txt"
            )
    for what, free in (("memory", machine.memory_bytes), ("disk", machine.disk_bytes)):
        if free < LEAST_BYTES:
            yield f"{name}: {free / (1 << 20):.0f} MiB of {what} are free, expected 1 GiB or more"
    if name != HERE and not machine.authenticates:
        yield (
            f"{name}: Ray runs without authentication, so that whoever reaches it can run code; "
            "start every node with RAY_AUTH_MODE=token"
        )
    if not machine.token_is_private:
        yield f"{name}: others can read Ray's token: chmod 600 {machine.token}"
    for source, found in machine.sources.items():
        if not _is_digest(found):
            yield f"{name}: {source}: {found}"


def _beside(name: str, machine: Machine, driver: Machine) -> Iterator[str]:
    """In what a node differs from where the search is driven."""
    for package, found in machine.versions.items():
        expected = driver.versions[package]
        if None not in (found, expected) and found != expected:
            yield (
                f"{name}: {package} is {found}, but {expected} here; scores of the two may differ: "
                "install the versions of constraints.txt on both"
            )
    for source, found in machine.sources.items():
        expected = driver.sources[source]
        if _is_digest(found) and _is_digest(expected) and found != expected:
            yield f"{name}: {source} is not the one that is here; copy it again"


def _is_digest(found: str) -> bool:
    return len(found) == 64 and set(found) <= set("0123456789abcdef")
