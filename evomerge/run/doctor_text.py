"""A diagnosis for humans: a column for each machine, what differs marked, what is wrong below."""

from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evomerge.run.doctor import FLOORS, HERE, Diagnosis
from evomerge.workers.machine import Machine

GIB = 1 << 30


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the table of machines, then each problem on a line."""
    console = Console(highlight=False)
    console.print(_table(diagnosis))
    for problem in diagnosis.problems:
        console.print(Text(f"✗ {problem}", style="red"), soft_wrap=True)
    if not diagnosis.problems:
        console.print(Text("Nothing is wrong.", style="green"))


def _table(diagnosis: Diagnosis) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in diagnosis.machines:
        table.add_column(Text(name), overflow="fold")
    driver = diagnosis.machines[HERE]
    for package, expected in driver.versions.items():
        found = [machine.versions.get(package) for machine in diagnosis.machines.values()]
        floor = f" (≥ {FLOORS[package]})" if package in FLOORS else ""
        table.add_row(package + floor, *(_version(own, expected) for own in found))
    for label, cell in ROWS.items():
        table.add_row(label, *(cell(machine) for machine in diagnosis.machines.values()))
    modes = [_mode(name, machine) for name, machine in diagnosis.machines.items()]
    table.add_row("authentication", *modes)
    for model in driver.models:
        digests = [machine.models[model] for machine in diagnosis.machines.values()]
        table.add_row(model, *(_digest(own, digests[0]) for own in digests))
    return table


def _version(found: str | None, expected: str | None) -> Text:
    if found == expected and found is not None:
        return Text(found)
    return Text(f"{found or 'missing'} ✗", style="red")


def _digest(found: str, expected: str) -> Text:
    short = found[:12] if len(found) == 64 else "✗"
    return Text(short) if found == expected else Text(f"{short} ✗", style="red")


def _mode(name: str, machine: Machine) -> Text:
    if name != HERE and not machine.authenticates:
        return Text("off ✗", style="red")
    if machine.token is None:
        return Text("no token yet")
    if machine.token_is_private:
        return Text("token")
    return Text("token, readable by others ✗", style="red")


ROWS: dict[str, Callable[[Machine], str]] = {
    "CPUs": lambda machine: str(machine.n_cpus),
    "GPUs": lambda machine: ", ".join(machine.gpus) or "none",
    "free memory": lambda machine: f"{machine.memory_bytes / GIB:.1f} GiB",
    "free disk": lambda machine: f"{machine.disk_bytes / GIB:.1f} GiB",
}
