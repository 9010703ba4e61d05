"""The front as one HTML page that works offline: figures, heat maps, table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import zip_longest

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from evomerge.records import Comparison, Member, Phase
from evomerge.tracking.directions import feasibility, heading, legend
from evomerge.tracking.figures import coordinates_figure, front_figure
from evomerge.tracking.heatmap import heatmap_json
from evomerge.tracking.page_parts import SCRIPT, STYLE
from evomerge.tracking.ranking import (
    BEST,
    best_hint,
    best_means,
    phases_of,
    ranked,
    ranked_baselines,
    scores,
)
from evomerge.tracking.table import cells, columns, mean_column

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)

MOST_DOMINATED = 500
"""Dominated merges that are drawn at most; ten thousand make a page of 16 MB that stalls."""


def front_page(comparison: Comparison, title: str) -> str:
    """A complete HTML page of the front beside the baselines.

    Nothing is loaded from elsewhere, and the page's own content security policy forbids it: plotly
    is part of the page. A click on a point or on a row shows that member's recipe as a heat map.
    """
    phases = phases_of(comparison)[::-1]
    drawn = replace(comparison, dominated=_evenly(comparison.dominated, MOST_DOMINATED))
    switch = "".join(
        f'<button data-phase="{phase}">{phase.capitalize()} items</button>' for phase in phases
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)} · evomerge</title>
<style>{STYLE}</style></head><body><main>
<header><p class="brand">evomerge</p><h1>{escape(title)}</h1>
<p class="lead">{_lead(comparison)}</p>{_feasibility(comparison)}</header>
<section><div class="bar"><h2>The front</h2><div class="switch">{switch}</div></div>
<div id="front"></div></section>
{_coordinates_section(comparison)}
<section><h2>Inside one merge <span id="chosen"></span></h2>
<p class="hint">Layer groups down, experts across. Click a point or a row to choose a merge.</p>
<div id="heat"></div></section>
<section><h2>All numbers</h2>
<p class="hint">Mean ± one standard error; {legend(comparison)}. {best_hint(comparison)}
Of the front's scores the best are bold.</p>
<div class="scroll">{_table(comparison, phases)}</div></section>
</main>
<script type="application/json" id="data">{_data(drawn, phases)}</script>
<script>{get_plotlyjs()}</script>
<script>{SCRIPT}</script>
</body></html>
"""


def _lead(comparison: Comparison) -> str:
    counts = (
        f"{_plural(len(comparison.front), 'merge')} on the front of "
        f"{escape(' × '.join(comparison.objectives))}, "
        f"{_others(comparison)}, "
        f"{_plural(len(comparison.baselines), 'baseline')}; {legend(comparison)}. "
        f"<b>Search</b> scores{_items(comparison, 'search')} steered the search and flatter it."
    )
    phases = phases_of(comparison)
    if "selection" in phases:
        counts += (
            f" <b>Selection</b> scores{_items(comparison, 'selection')} of its best are from fresh "
            "items; both together chose the front."
        )
    if "test" not in phases:
        return counts + " Nothing has been scored on test items yet."
    return (
        f"{counts} <b>Test</b> scores{_items(comparison, 'test')} are from items that the search "
        "never saw. Error bars are one standard error."
    )


def _feasibility(comparison: Comparison) -> str:
    found = feasibility(comparison)
    kind = "lead" if comparison.is_feasible else "lead missed"
    return f'<p class="{kind}">{escape(found)}</p>' if found else ""


def _evenly(members: tuple[Member, ...], n_most: int) -> tuple[Member, ...]:
    """At most so many of the members, evenly spread over their order."""
    n = min(len(members), n_most)
    return tuple(members[index * len(members) // n] for index in range(n))


def _others(comparison: Comparison) -> str:
    """How many merges are not on the front, for which reason, and how many of them are drawn."""
    n = len(comparison.dominated)
    n_barred = sum(member.violation > 0.0 for member in comparison.dominated)
    count = _plural(n - n_barred, "dominated merge")
    if comparison.bounds:
        count += f", {_plural(n_barred, 'other')} beyond a bound"
    if n <= MOST_DOMINATED:
        return count
    return f"{count} (of which {MOST_DOMINATED} are drawn, evenly from first to last)"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _items(comparison: Comparison, phase: Phase) -> str:
    """` (120 items an objective)`, or nothing where the members differ."""
    counts = {
        estimate.n for member in comparison.members() for estimate in scores(member, phase).values()
    }
    return f" ({counts.pop()} items an objective)" if len(counts) == 1 else ""


def _coordinates_section(comparison: Comparison) -> str:
    if len(comparison.objectives) < 3:
        return ""
    return """<section><h2>What each merge trades</h2>
<p class="hint">One line for each model; click the legend to hide or isolate a group.</p>
<div id="coordinates"></div></section>"""


def _data(comparison: Comparison, phases: tuple[Phase, ...]) -> str:
    many = len(comparison.objectives) > 2
    members = [*ranked(comparison), *ranked_baselines(comparison)]
    data = {
        "front": {phase: _plain(front_figure(comparison, phase)) for phase in phases},
        "coordinates": {phase: _plain(coordinates_figure(comparison, phase)) for phase in phases}
        if many
        else None,
        "heat": {member.id: heatmap_json(member.recipe) for _, member in members},
        "names": {member.id: name for name, member in members[::-1]},
        "first": members[0][1].id if members else None,
    }
    # Inside a script element only this sequence could end the data early.
    return json.dumps(data, allow_nan=False).replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _plain(figure: go.Figure) -> object:
    plain: object = json.loads(figure.to_json())
    return plain


def _table(comparison: Comparison, phases: tuple[Phase, ...]) -> str:
    names = [heading(comparison, name) for name in columns(comparison)]
    names += mean_column(comparison)
    top = "".join(
        f'<th colspan="{len(names)}" class="{phase}">{phase} items</th>' for phase in phases
    )
    head = "".join(f"<th>{escape(name)}</th>" for _ in phases for name in names)
    best = {phase: best_means(comparison, phase) for phase in phases}
    front = [
        _row(
            (f"{BEST} " if rank == 0 else "") + name,
            member,
            cells(comparison, member, phases),
            _bests(comparison, member, best),
        )
        for rank, (name, member) in enumerate(ranked(comparison))
    ]
    baselines = [
        _row(name, member, cells(comparison, member, phases), kind="baseline")
        for name, member in ranked_baselines(comparison)
    ]
    return (
        f"<table><thead><tr><th></th>{top}</tr><tr><th>model</th>{head}</tr></thead>"
        f"<tbody>{''.join(front)}</tbody><tbody>{''.join(baselines)}</tbody></table>"
    )


def _bests(
    comparison: Comparison, member: Member, best: Mapping[Phase, Mapping[str, float]]
) -> Iterator[bool]:
    """Of each cell of a row, whether its score is the best of the front in that phase."""
    for phase, means in best.items():
        known = scores(member, phase)
        for name in comparison.objectives:
            yield name in known and known[name].mean == means.get(name)
        yield from [False] * (len(comparison.bounds) + len(mean_column(comparison)))


def _row(
    name: str,
    member: Member,
    texts: Sequence[str],
    bests: Iterable[bool] = (),
    kind: str = "front",
) -> str:
    marked = zip_longest(texts, bests, fillvalue=False)
    row = "".join(_cell(str(text), is_best=bool(is_best)) for text, is_best in marked)
    return f'<tr class="{kind}" data-id="{escape(member.id)}"><td>{escape(name)}</td>{row}</tr>'


def _cell(text: str, *, is_best: bool) -> str:
    mean, _, error = text.partition(" ")
    shown = f"<b>{mean}</b>" if is_best else mean
    return f"<td>{shown} <small>{escape(error)}</small></td>"
