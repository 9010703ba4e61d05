"""The fault table of README.md: `python -m tests.chaos.table` does all the harm and writes it."""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from evomerge.workers.cluster import connect
from tests.chaos import faults
from tests.chaos.faults import Report

README = Path(__file__).with_name("README.md")
MARK = "<!-- table -->"
HEADER = """\
| fault | load | struck | lost | repeated | retried | time | undisturbed | ratio |
|---|---|---|---|---|---|---|---|---|
"""

ON_A_LOCAL_RAY: tuple[Callable[[Path], Report], ...] = (
    faults.workers_killed,
    partial(faults.candidates_struck, fault="death"),
    partial(faults.candidates_struck, fault="hang"),
    partial(faults.candidates_struck, fault="nan"),
)
ON_THEIR_OWN: tuple[Callable[[Path], Report], ...] = (
    faults.driver_killed,
    faults.disk_full,
    faults.node_lost,
)


def reports(folder: Path) -> Iterator[Report]:
    """One fault after the other."""
    cluster = connect(None, workers=4)
    try:
        for number, fault in enumerate(ON_A_LOCAL_RAY):
            yield fault(_made(folder / f"local-{number}"))
    finally:
        cluster.disconnect()
    for number, fault in enumerate(ON_THEIR_OWN):
        yield fault(_made(folder / f"own-{number}"))


def row(report: Report) -> str:
    """A line of the table."""
    whole = report.undisturbed_s
    ratio = "" if whole is None else f"{report.seconds / whole:.2f}"
    undisturbed = "" if whole is None else f"{whole:.0f} s"
    account = report.account
    cells = (report.fault, report.load, report.n_struck, report.lost, account.repeated)
    more = (account.retried, f"{report.seconds:.0f} s", undisturbed, ratio)
    return "| " + " | ".join(map(str, (*cells, *more))) + " |\n"


def main() -> None:
    """Do the harm, print each line as it is known, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="leave README.md as it is")
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        for report in reports(Path(folder)):
            lines.append(row(report))
            print(lines[-1], end="", flush=True)
    if not options.dry_run:
        before, _, after = README.read_text().split(MARK)
        made = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python"
        note = f"\nMeasured on {made} {platform.python_version()}.\n"
        README.write_text(before + MARK + "\n" + HEADER + "".join(lines) + note + MARK + after)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
