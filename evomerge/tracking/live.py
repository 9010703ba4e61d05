"""The search on a terminal: a live panel where there is one, plain lines elsewhere.

Everything goes to standard error, so that standard output stays clean for results.
"""

import sys
from collections.abc import Callable
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evomerge.records import Progress
from evomerge.tracking.directions import arrow
from evomerge.tracking.numbers import number_text
from evomerge.tracking.pace import Pace, clock_text
from evomerge.tracking.tracker import Status, Tracker

_SPARKS = "▁▂▃▄▅▆▇█"
_SECONDS_BETWEEN_LINES = 5.0


def live_view(title: str, console: Console | None = None) -> Tracker:
    """The view that suits the terminal: a panel on an interactive one, else plain lines."""
    console = console or Console(stderr=True)
    return LiveView(title, console) if console.is_terminal else PlainLines(title, console)


class LiveView:
    """A panel that is redrawn in place; notes scroll by above it."""

    def __init__(self, title: str, console: Console) -> None:
        self._title = title
        self._console = console
        self._pace = Pace()
        self._hypervolumes: list[float] = []
        self._live: Live | None = None

    def show(self, progress: Progress) -> None:
        self._pace.mark(progress.n_done)
        self._hypervolumes.append(progress.hypervolume)
        panel = _panel(self._title, progress, self._pace, self._hypervolumes)
        if self._live is None:
            # Standard output is left alone where it is a file or a pipe.
            self._live = Live(
                console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty()
            )
            self._live.start()
        self._live.update(panel, refresh=True)

    def note(self, message: str) -> None:
        self._console.print(Text(message))

    def close(self, status: Status) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class PlainLines:
    """One line for the first state, then at most one every five seconds, and one for the last."""

    def __init__(
        self, title: str, console: Console, clock: Callable[[], float] = monotonic
    ) -> None:
        self._title = title
        self._console = console
        self._clock = clock
        self._pace = Pace(clock)
        self._last: Progress | None = None
        self._printed: Progress | None = None
        self._printed_s = 0.0

    def show(self, progress: Progress) -> None:
        self._pace.mark(progress.n_done)
        self._last = progress
        is_first = self._printed is None
        is_due = self._clock() - self._printed_s >= _SECONDS_BETWEEN_LINES
        if is_first or is_due or progress.n_done >= progress.n_total:
            self._print(progress)

    def note(self, message: str) -> None:
        self._line(f"{self._title}: {message}")

    def close(self, status: Status) -> None:
        if self._last is not None and self._last is not self._printed:
            self._print(self._last)

    def _print(self, progress: Progress) -> None:
        self._printed, self._printed_s = progress, self._clock()
        self._line(f"{self._title}: {progress_line(progress, self._pace)}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def progress_line(progress: Progress, pace: Pace) -> str:
    """The state of a search in one line of plain text."""
    best = ", ".join(f"{name} {number_text(value)}" for name, value in _best(progress))
    parts = [f"{progress.n_done}/{progress.n_total}"]
    parts += [f"hypervolume {progress.hypervolume:.4f}", f"front {progress.n_front}"]
    parts += [f"feasible {progress.n_feasible}"] if progress.n_feasible is not None else []
    parts += [f"best {best}"] if best else []
    parts += [f"failed {failure_text(progress)}"] if progress.n_failed else []
    return " | ".join(parts + _pace_parts(progress, pace))


def _best(progress: Progress) -> list[tuple[str, float]]:
    """The best of each objective so far, its name with the direction where directions differ."""
    return [(arrow(name, progress.minimised), value) for name, value in progress.best.items()]


def failure_text(progress: Progress) -> str:
    """The number of failures and how many had which reason: `3 (timeout 2, exception 1)`."""
    reasons = _reasons(progress)
    return f"{progress.n_failed} ({reasons})" if reasons else str(progress.n_failed)


def _reasons(progress: Progress) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in progress.failures.items())


def _pace_parts(progress: Progress, pace: Pace) -> list[str]:
    rate = pace.per_minute
    left_s = pace.remaining_s(progress.n_total - progress.n_done)
    parts = [] if rate is None else [f"{rate:.1f}/min"]
    return parts if left_s is None else [*parts, f"ETA {clock_text(left_s)}"]


def _panel(title: str, progress: Progress, pace: Pace, hypervolumes: list[float]) -> Panel:
    body = Group(_bar(progress, pace), Text(), _facts(progress, hypervolumes))
    heading = Text.assemble(("evomerge", "bold cyan"), "  ", (title, "bold"))
    return Panel(body, title=heading, title_align="left", border_style="cyan", padding=(1, 2))


def _bar(progress: Progress, pace: Pace) -> Table:
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, style="dim")
    bar = ProgressBar(
        total=max(progress.n_total, 1),
        completed=progress.n_done,
        complete_style="cyan",
        finished_style="green",
    )
    count = Text(f"{progress.n_done}/{progress.n_total}", style="bold")
    row.add_row(count, bar, "  ".join(_pace_parts(progress, pace)))
    return row


def _facts(progress: Progress, hypervolumes: list[float]) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(justify="right", no_wrap=True)
    facts.add_column(overflow="ellipsis", no_wrap=True)
    spark = Text(sparkline(hypervolumes), style="cyan")
    facts.add_row("hypervolume", f"{progress.hypervolume:.4f}", spark)
    facts.add_row("front", str(progress.n_front), "")
    if progress.n_feasible is not None:
        found = "" if progress.n_feasible else "no candidate meets every bound yet"
        facts.add_row("feasible", str(progress.n_feasible), Text(found, style="red"))
    for name, value in _best(progress):
        facts.add_row(Text(f"best {name}"), Text(number_text(value), style="green"), "")
    if progress.n_failed:
        facts.add_row("failed", Text(str(progress.n_failed), style="red"), Text(_reasons(progress)))
    return facts


def sparkline(values: list[float], width: int = 32) -> str:
    """The course of `values` as at most `width` bars; values that are not finite are left out."""
    known = [value for value in values if value == value and abs(value) != float("inf")]
    if not known:
        return ""
    step = max(1, -(-len(known) // width))
    shown = known[::-1][::step][::-1]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_SPARKS[round((value - low) / span * (len(_SPARKS) - 1))] for value in shown)
