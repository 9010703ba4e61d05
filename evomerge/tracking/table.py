"""The front beside the baselines: as a table for a terminal, as JSON, as CSV."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from evomerge.records import Comparison, Estimate, Member, Phase
from evomerge.tracking.directions import (
    MISSED,
    feasibility,
    has_mean,
    heading,
    legend,
    mark,
    minimised,
)
from evomerge.tracking.numbers import number_text
from evomerge.tracking.ranking import (
    BEST,
    PHASES,
    UNKNOWN,
    before_test,
    best_hint,
    mean_estimate,
    phases_of,
    ranked,
    ranked_baselines,
    scores,
)

MEAN = "mean"


def front_table(comparison: Comparison) -> "FrontTable":
    """The front beside the baselines, ready for `rich.print`."""
    return FrontTable(comparison)


class FrontTable:
    """Means ± standard errors of every member, on the items of the search and of what came after.

    All kinds of items stand side by side where the terminal is wide enough, else one table under
    the other. The star marks the front member that is best before the test, on the items of search
    and selection together: the test items choose nothing.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._phases = phases_of(comparison)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._tables(console, options)
        if not has_mean(self._comparison):
            yield Text(f"{legend(self._comparison).capitalize()}. {best_hint(self._comparison)}")
        if found := feasibility(self._comparison):
            yield Text(found, style="" if self._comparison.is_feasible else "bold red")

    def _tables(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = _table(self._comparison, self._phases)
        needed = Measurement.get(console, options.update(width=10_000), wide).maximum
        if needed <= options.max_width:
            yield wide
            return
        for phase in reversed(self._phases):  # the fairer ones first
            yield _table(self._comparison, (phase,))


def _table(comparison: Comparison, phases: tuple[Phase, ...]) -> Table:
    kinds = " and ".join(filter(None, (", ".join(phases[:-1]), phases[-1])))
    title = f"Front and baselines, on the {kinds} items"
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True, min_width=1, style="yellow")
    table.add_column("model", overflow="fold")
    names = [heading(comparison, name) for name in columns(comparison)]
    for phase in phases:
        suffix = f"\n{phase}" if len(phases) > 1 else ""
        for name in (*names, *mean_column(comparison)):
            style = "bold" if name == MEAN else ""
            # Where they do not fit they fold: rich would shrink the names beside them to nothing.
            header = Text(name + suffix, overflow="fold")
            table.add_column(header, justify="right", overflow="fold", style=style)
    for rank, (name, member) in enumerate(ranked(comparison)):
        star = BEST if rank == 0 else ""
        table.add_row(star, Text(name), *cells(comparison, member, phases))
    table.add_section()
    for name, member in ranked_baselines(comparison):
        table.add_row("", Text(name), *cells(comparison, member, phases), style="dim")
    return table


def columns(comparison: Comparison) -> tuple[str, ...]:
    """What a table of a phase shows of a member: its objectives, then what has a bound."""
    return (*comparison.objectives, *comparison.bounds)


def cells(comparison: Comparison, member: Member, phases: Sequence[Phase]) -> list[str]:
    """The member's scores in every phase, by `columns`, and their mean where it says something.

    Behind a search score that has a bound stands whether that is met before the test.
    """
    texts = []
    for phase in phases:
        known = scores(member, phase)
        texts += [_cell(comparison, member, phase, name) for name in columns(comparison)]
        if has_mean(comparison):
            estimates = [known.get(name, UNKNOWN) for name in comparison.objectives]
            texts.append(text_of(mean_estimate(estimates)))
    return texts


def _cell(comparison: Comparison, member: Member, phase: Phase, name: str) -> str:
    text = text_of(scores(member, phase).get(name, UNKNOWN))
    bound = comparison.bounds.get(name)
    if bound is None or phase != "search":
        return text
    return f"{text} {mark(bound, before_test(member, name))}".strip()


def mean_column(comparison: Comparison) -> tuple[str, ...]:
    """The column of the mean, where there is one."""
    return (MEAN,) if has_mean(comparison) else ()


def text_of(estimate: Estimate) -> str:
    """`0.912 ±.026`, without a standard error that is unknown or none, `–` without a mean."""
    if not math.isfinite(estimate.mean):
        return "–"
    has_error = math.isfinite(estimate.se) and (estimate.se > 0.0 or estimate.mean < 1000)
    error = f" ±{number_text(estimate.se, estimate.mean)}".replace("±0.", "±.")
    return f"{number_text(estimate.mean)}{error if has_error else ''}"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """`{"front": [member with id], "baselines": {name: member}}` in plain JSON values.

    Beside them `minimised` names the objectives of which smaller is better, and `bounds` what is
    held to a bound, with the limit that it comes to; `feasible` says whether the front meets them.
    A member has `objectives`, `selection` and `test`, each `{name: {"mean", "se", "n"}}`, and its
    `recipe`; likewise `means`, where objectives are no plain means, and `pooled`, where search and
    selection together chose the front; and `constraints` with whether each bound is met, and the
    sum of the shortfalls as `violation`, where there are bounds. A number that is not finite
    becomes null.
    """
    return {
        "minimised": sorted(minimised(comparison)),
        "bounds": {
            name: {"require": bound.text, "limit": finite_or_none(bound.limit)}
            for name, bound in comparison.bounds.items()
        },
        "feasible": comparison.is_feasible,
        "front": [_member_json(comparison, member) for _, member in ranked(comparison)],
        "baselines": {
            name: _member_json(comparison, member) for name, member in ranked_baselines(comparison)
        },
    }


def to_csv(comparison: Comparison) -> str:
    """One row for each member: kind, name, then mean and standard error of every objective."""
    wanted = [(phase, name) for phase in PHASES for name in columns(comparison)]
    header = [f"{phase} {name}{part}" for phase, name in wanted for part in ("", " se")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "model", *header])
    for kind, pairs in (("front", ranked(comparison)), ("baseline", ranked_baselines(comparison))):
        for name, member in pairs:
            writer.writerow([kind, name, *_numbers(member, wanted)])
    return text.getvalue()


def _numbers(member: Member, wanted: list[tuple[Phase, str]]) -> Iterator[str]:
    for phase, name in wanted:
        estimate = scores(member, phase).get(name, UNKNOWN)
        for number in (estimate.mean, estimate.se):
            yield f"{number:.6g}" if math.isfinite(number) else ""


def _member_json(comparison: Comparison, member: Member) -> dict[str, Any]:
    beside = {"means": member.means, "pooled": member.pooled}
    held = {
        "constraints": {
            name: {**estimate.to_json(), "feasible": _is_met(comparison, member, name)}
            for name, estimate in member.constraints.items()
        },
        "violation": finite_or_none(member.violation),
    }
    return {
        "id": member.id,
        "objectives": _estimates_json(member.objectives),
        "selection": _estimates_json(member.selection),
        "test": _estimates_json(member.test),
        **{name: _estimates_json(known) for name, known in beside.items() if known},
        **(held if comparison.bounds else {}),
        "recipe": member.recipe.to_json(),
    }


def _is_met(comparison: Comparison, member: Member, name: str) -> bool | None:
    """Whether a bound is met before the test; None where that is not known."""
    found = mark(comparison.bounds[name], before_test(member, name))
    return found != MISSED if found else None


def _estimates_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def to_markdown(comparison: Comparison) -> str:
    """The table in Markdown, with test scores where there are some, else what came before."""
    phase = phases_of(comparison)[-1]
    names = [
        *(heading(comparison, name) for name in columns(comparison)),
        *mean_column(comparison),
    ]
    lines = [
        f"Mean ± standard error on the {phase} items; {legend(comparison)}.",
        best_hint(comparison),
        *([feasibility(comparison)] if comparison.bounds else []),
        "",
        "| model | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for rank, (name, member) in enumerate([*ranked(comparison), *ranked_baselines(comparison)]):
        shown = f"{BEST} {name}" if rank == 0 and comparison.front else name
        lines.append(f"| {shown} | {' | '.join(cells(comparison, member, (phase,)))} |")
    return "\n".join(lines) + "\n"


def finite_or_none(number: float) -> float | None:
    """The number as JSON holds it."""
    return number if math.isfinite(number) else None
