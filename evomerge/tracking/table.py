"""The front beside the baselines: as a table for a terminal, as JSON, as CSV."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from evomerge.records import Comparison, Estimate, Member, Phase

BEST = "★"
UNKNOWN = Estimate(math.nan, math.nan, 0)
_PHASES: tuple[Phase, ...] = get_args(Phase)


def scores(member: Member, phase: Phase) -> Mapping[str, Estimate]:
    """The member's estimates on the items of a phase."""
    if phase == "search":
        return member.objectives
    return member.selection if phase == "selection" else member.test


def phases_of(comparison: Comparison) -> tuple[Phase, ...]:
    """The phases that anybody has scores of, in their order; the last ones flatter least."""
    members = [*comparison.members()]
    later = [p for p in _PHASES[1:] if any(scores(member, p) for member in members)]
    return (_PHASES[0], *later)


def ranked(comparison: Comparison) -> list[tuple[str, Member]]:
    """Front members by their ids, the best mean before the test first."""
    pairs = [(member.id, member) for member in comparison.front]
    return sorted(pairs, key=_worst_last)


def ranked_baselines(comparison: Comparison) -> list[tuple[str, Member]]:
    """Baselines by their names, the best mean before the test first."""
    return sorted(comparison.baselines.items(), key=_worst_last)


def _worst_last(pair: tuple[str, Member]) -> tuple[bool, float]:
    member = pair[1]
    known = {name: member.pooled.get(name, own) for name, own in member.objectives.items()}
    mean = mean_estimate([*known.values()]).mean
    return math.isnan(mean), -mean


def front_table(comparison: Comparison) -> "FrontTable":
    """The front beside the baselines, ready for `rich.print`."""
    return FrontTable(comparison)


class FrontTable:
    """Means ± standard errors of every member, on the items of the search and of what came after.

    All kinds of items stand side by side where the terminal is wide enough, else one table under
    the other. The star marks the front member with the best mean before the test, on the items of
    search and selection together: the test items choose nothing.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._phases = phases_of(comparison)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = _table(self._comparison, self._phases)
        needed = Measurement.get(console, options.update(width=10_000), wide).maximum
        if needed <= options.max_width:
            yield wide
            return
        for phase in reversed(self._phases):  # the fairer ones first
            yield _table(self._comparison, (phase,))


def _table(comparison: Comparison, phases: tuple[Phase, ...]) -> Table:
    title = f"Front and baselines, on the {' and '.join(phases)} items"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True, min_width=1, style="yellow")
    table.add_column("model", overflow="fold")
    for phase in phases:
        suffix = f"\n{phase}" if len(phases) > 1 else ""
        for name in (*comparison.objectives, "mean"):
            style = "bold" if name == "mean" else ""
            # Where they do not fit they fold: rich would shrink the names beside them to nothing.
            header = Text(name + suffix, overflow="fold")
            table.add_column(header, justify="right", overflow="fold", style=style)
    for rank, (name, member) in enumerate(ranked(comparison)):
        star = BEST if rank == 0 else ""
        table.add_row(star, Text(name), *_cells(member, phases, comparison.objectives))
    table.add_section()
    for name, member in ranked_baselines(comparison):
        cells = _cells(member, phases, comparison.objectives)
        table.add_row("", Text(name), *cells, style="dim")
    return table


def _cells(member: Member, phases: Sequence[Phase], objectives: Sequence[str]) -> list[str]:
    cells = []
    for phase in phases:
        estimates = [scores(member, phase).get(name, UNKNOWN) for name in objectives]
        cells += [text_of(estimate) for estimate in (*estimates, mean_estimate(estimates))]
    return cells


def text_of(estimate: Estimate) -> str:
    """`0.912 ±.026`, without the standard error where it is unknown, `–` without a mean."""
    if not math.isfinite(estimate.mean):
        return "–"
    error = f" ±{estimate.se:.3f}".replace("±0.", "±.") if math.isfinite(estimate.se) else ""
    return f"{estimate.mean:.3f}{error}"


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of k means, with √(Σ se²) / k: the objectives' items are independent samples."""
    k = len(estimates)
    if k == 0:
        return UNKNOWN
    mean = math.fsum(estimate.mean for estimate in estimates) / k
    error = math.sqrt(math.fsum(estimate.se**2 for estimate in estimates)) / k
    return Estimate(mean, error, sum(estimate.n for estimate in estimates))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """`{"front": [member with id], "baselines": {name: member}}` in plain JSON values.

    A member has `objectives`, `selection` and `test`, each `{name: {"mean", "se", "n"}}`, and its
    `recipe`; likewise `means`, where objectives are no plain means, and `pooled`, where search and
    selection together chose the front. A number that is not finite becomes null.
    """
    return {
        "front": [_member_json(member) for _, member in ranked(comparison)],
        "baselines": {name: _member_json(member) for name, member in ranked_baselines(comparison)},
    }


def to_csv(comparison: Comparison) -> str:
    """One row for each member: kind, name, then mean and standard error of every objective."""
    columns = [(phase, name) for phase in _PHASES for name in comparison.objectives]
    header = [f"{phase} {name}{part}" for phase, name in columns for part in ("", " se")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "model", *header])
    for kind, pairs in (("front", ranked(comparison)), ("baseline", ranked_baselines(comparison))):
        for name, member in pairs:
            writer.writerow([kind, name, *_numbers(member, columns)])
    return text.getvalue()


def _numbers(member: Member, columns: list[tuple[Phase, str]]) -> Iterator[str]:
    for phase, name in columns:
        estimate = scores(member, phase).get(name, UNKNOWN)
        for number in (estimate.mean, estimate.se):
            yield f"{number:.6g}" if math.isfinite(number) else ""


def _member_json(member: Member) -> dict[str, Any]:
    beside = {"means": member.means, "pooled": member.pooled}
    return {
        "id": member.id,
        "objectives": _estimates_json(member.objectives),
        "selection": _estimates_json(member.selection),
        "test": _estimates_json(member.test),
        **{name: _estimates_json(known) for name, known in beside.items() if known},
        "recipe": member.recipe.to_json(),
    }


def _estimates_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def to_markdown(comparison: Comparison) -> str:
    """The table in Markdown, with test scores where there are some, else what came before."""
    phase = phases_of(comparison)[-1]
    names = (*comparison.objectives, "mean")
    lines = [
        f"Mean ± standard error on the {phase} items; {BEST}: best mean before the test.",
        "",
        "| model | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for rank, (name, member) in enumerate([*ranked(comparison), *ranked_baselines(comparison)]):
        shown = f"{BEST} {name}" if rank == 0 and comparison.front else name
        cells = " | ".join(_cells(member, (phase,), comparison.objectives))
        lines.append(f"| {shown} | {cells} |")
    return "\n".join(lines) + "\n"
