"""The traces of the interactive figures."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from evomerge.records import Comparison, Member, Phase
from evomerge.tracking.geometry import (
    Mark,
    Scene,
    Window,
    baseline_positions,
)
from evomerge.tracking.hover import hover_text
from evomerge.tracking.style import BASELINE, BASELINE_INK, BASELINES, DOMINATED, FRONT, FRONT_LINE
from evomerge.tracking.table import UNKNOWN, ranked, ranked_baselines, scores

_BEST = "best mean before the test"
_SYMBOLS = ("diamond", "square", "triangle-up", "cross", "pentagon", "hexagon", "triangle-down")


def scatter(shown: Scene, view: Window) -> list[go.Scatter]:
    """The traces of one large plot, with labels at the baselines."""
    style = {
        "mode": "markers+text",
        "marker": {"symbol": "diamond", "size": 11, "color": BASELINE, "line": _edge(1)},
        "text": [mark.name for mark in shown.baselines],
        "textposition": baseline_positions(shown, view),
        "textfont": {"color": BASELINE_INK, "size": 13},
        **_error_bars(shown.baselines, BASELINE),
    }
    labels = _points(shown.baselines, "baselines", style)
    return [_dominated(shown), _stairs(shown), labels, *_front(shown, size=12)]


def small_scatter(shown: Scene, *, legend: bool) -> list[go.Scatter]:
    """The traces of one plot of many: the baselines are named in the legend, not at the points."""
    traces = [_dominated(shown), _stairs(shown)]
    for index, mark in enumerate(shown.baselines):
        traces.append(_points((mark,), mark.name, {"marker": _baseline_marker(index)}))
    traces += _front(shown, size=9)
    for trace in traces:
        trace.showlegend = legend and trace.showlegend is not False
    return traces


def dots(comparison: Comparison, phase: Phase) -> list[go.Scatter]:
    """One row for each member of a search with a single objective, the best on top."""
    name = comparison.objectives[0]
    groups = (
        ("baselines", ranked_baselines(comparison), BASELINE, "diamond"),
        ("front", ranked(comparison), FRONT, "circle"),
    )
    return [
        _dot_rows(label, pairs[::-1], (name, phase), {"color": color, "symbol": symbol, "size": 11})
        for label, pairs, color, symbol in groups
    ]


def coordinates(comparison: Comparison, phase: Phase) -> list[go.Scatter]:
    """One line for each member across the objectives, the front on top."""
    lines = [_web(comparison.dominated)] if phase == "search" and comparison.dominated else []
    for index, (name, member) in enumerate(ranked_baselines(comparison)):
        style = {"color": BASELINES[index % len(BASELINES)], "width": 2, "dash": "dot"}
        lines.append(_line(name, member, phase, style, group=name, legend=True))
    for index, (name, member) in enumerate(ranked(comparison)):
        style = {"color": FRONT, "width": 3.5 if index == 0 else 2}
        lines.append(_line(name, member, phase, style, group="front", legend=index == 0))
        lines[-1].opacity = 1.0 if index == 0 else 0.55
    return lines


def _front(shown: Scene, *, size: int) -> list[go.Scatter]:
    """The front, and its best member as a star."""
    best, others = shown.front[:1], shown.front[1:]
    groups = ((others, "front", "circle", size), (best, _BEST, "star", size + 6))
    traces = []
    for marks, name, symbol, diameter in groups:
        marker = {"symbol": symbol, "size": diameter, "color": FRONT, "line": _edge(1.5)}
        traces.append(_points(marks, name, {"marker": marker, **_error_bars(marks, FRONT)}))
    return traces


def _dominated(shown: Scene) -> go.Scatter:
    marker = {"size": 7, "color": DOMINATED, "opacity": 0.45}
    return _points(shown.dominated, "dominated", {"marker": marker})


def _stairs(shown: Scene) -> go.Scatter:
    corners = shown.corners()
    return go.Scatter(
        x=[x for x, _ in corners],
        y=[y for _, y in corners],
        mode="lines",
        line={"color": FRONT_LINE, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        legendgroup="front",
        showlegend=False,
    )


def _points(marks: Sequence[Mark], name: str, style: Mapping[str, object]) -> go.Scatter:
    return go.Scatter(
        x=[mark.x for mark in marks],
        y=[mark.y for mark in marks],
        name=name,
        legendgroup=name,
        customdata=[mark.member.id for mark in marks],
        hovertext=[hover_text(mark.name, mark.member) for mark in marks],
        hoverinfo="text",
        showlegend=bool(marks),
        **{"mode": "markers", **style},
    )


def _dot_rows(
    label: str,
    pairs: Sequence[tuple[str, Member]],
    what: tuple[str, Phase],
    marker: dict[str, object],
) -> go.Scatter:
    objective, phase = what
    estimates = [scores(member, phase).get(objective, UNKNOWN) for _, member in pairs]
    return go.Scatter(
        x=[estimate.mean for estimate in estimates],
        y=[name for name, _ in pairs],
        name=label,
        mode="markers",
        marker=marker,
        error_x={"array": [estimate.se for estimate in estimates], "thickness": 1, "width": 0},
        customdata=[member.id for _, member in pairs],
        hovertext=[hover_text(name, member) for name, member in pairs],
        hoverinfo="text",
    )


def _line(
    name: str, member: Member, phase: Phase, style: dict[str, object], *, group: str, legend: bool
) -> go.Scatter:
    estimates = scores(member, phase)
    return go.Scatter(
        x=list(estimates),
        y=[estimate.mean for estimate in estimates.values()],
        name=group,
        legendgroup=group,
        mode="lines+markers",
        line=style,
        customdata=[member.id] * len(estimates),
        hovertext=hover_text(name, member),
        hoverinfo="text",
        showlegend=legend,
    )


def _web(members: Sequence[Member]) -> go.Scatter:
    """The lines of all dominated members as one trace: thousands would stall the browser."""
    estimates = [estimate for member in members for estimate in (*member.objectives.items(), None)]
    return go.Scatter(
        x=[pair and pair[0] for pair in estimates],
        y=[pair and pair[1].mean for pair in estimates],
        name="dominated",
        mode="lines",
        line={"color": DOMINATED, "width": 1},
        opacity=0.25,
        hoverinfo="skip",
    )


def _error_bars(marks: Sequence[Mark], color: str) -> dict[str, object]:
    shared = {"color": color, "thickness": 1, "width": 0}
    return {
        "error_x": {"array": [mark.x_se for mark in marks], **shared},
        "error_y": {"array": [mark.y_se for mark in marks], **shared},
    }


def _baseline_marker(index: int) -> dict[str, object]:
    symbol = _SYMBOLS[index % len(_SYMBOLS)]
    return {
        "symbol": symbol,
        "size": 9,
        "color": BASELINES[index % len(BASELINES)],
        "line": _edge(1),
    }


def _edge(width: float) -> dict[str, object]:
    return {"color": "white", "width": width}
