"""What `calibrate` found, as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_calibration(calibration: Mapping[str, Any]) -> None:
    """Print a table of the banks, and how to use them."""
    console = Console(highlight=False)
    console.print(_table(calibration["banks"]))
    for line in _remarks(calibration):
        console.print(line, soft_wrap=True)


def _table(banks: list[Mapping[str, Any]]) -> Table:
    """A row for each task and number of items; what is of the task alone stands once."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("task", no_wrap=True)
    for name in ("models", "items", "flagged"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for name in ("at", "bank", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    for bank in banks:
        n_flagged = sum(map(len, bank["flagged"].values()))
        counts = (bank["n_models"], bank["n_items"], n_flagged)
        own = [bank["task"], *map(str, counts), bank["model"]]
        for size, errors in bank["errors"].items() or [("", None)]:
            numbers = ["", ""] if errors is None else [f"{errors[k]:.4f}" for k in ("bank", "mean")]
            table.add_row(*own, size, *numbers, bank["way"])
            own = [""] * len(own)
    return table


def _remarks(calibration: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "bank, mean: error of the score of models left out, at so many items, by the bank and by "
        "the mean of random items"
    )
    for row in calibration["banks"]:
        if row["doubt"]:
            yield f"{row['task']}: {row['doubt']}"
    for task, reason in calibration["skipped"].items():
        yield f"no bank for {task}: {reason}"
    folder = calibration["folder"]
    yield f"Runs use them with `estimator: irt` and `bank: {folder}` under `scoring`."
