"""`doctor`: is everything there that a search needs, on this machine and on every node?"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from evomerge.config.read import read_experiment
from evomerge.errors import ConfigError
from evomerge.workers.machine import Machine, describe

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
    models = _models(config)
    machines: dict[str, Machine] = {HERE: describe(models)}
    unknown: dict[str, str] = {}
    if address is not None:
        for name, found in _survey(address, models).items():
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


def _models(config: Path | None) -> dict[str, Path]:
    """The folders that a worker reads. Tasks are the driver's alone, which sends them along."""
    if config is None:
        return {}
    reading = read_experiment(config)
    if reading.experiment is None or reading.problems:
        raise ConfigError(reading.problems)
    return {"base": reading.experiment.base, **reading.experiment.experts}


def _survey(address: str, models: Mapping[str, Path]) -> dict[str, Machine | str]:
    from evomerge.workers.cluster import connect
    from evomerge.workers.survey import survey

    cluster = connect(address)
    try:
        return survey(models)
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
    for model, found in machine.models.items():
        if not _is_digest(found):
            yield f"{name}: {model}: {found}"


def _beside(name: str, machine: Machine, driver: Machine) -> Iterator[str]:
    """In what a node differs from where the search is driven."""
    for package, found in machine.versions.items():
        expected = driver.versions[package]
        if None not in (found, expected) and found != expected:
            yield (
                f"{name}: {package} is {found}, but {expected} here; scores of the two may differ: "
                "install the versions of constraints.txt on both"
            )
    for model, found in machine.models.items():
        expected = driver.models[model]
        if _is_digest(found) and _is_digest(expected) and found != expected:
            yield f"{name}: {model} is not the one that is here; copy it again"


def _is_digest(found: str) -> bool:
    return len(found) == 64 and set(found) <= set("0123456789abcdef")
