"""The traces of the interactive figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from evomerge.records import Comparison, Member, Phase
from evomerge.tracking.directions import has_mean, heading
from evomerge.tracking.geometry import (
    BARRED,
    Mark,
    Scene,
    Window,
    baseline_positions,
)
from evomerge.tracking.hover import hover_text
from evomerge.tracking.ranking import (
    STARRED,
    UNKNOWN,
    Scale,
    place,
    ranked,
    ranked_baselines,
    scale,
    scores,
)
from evomerge.tracking.style import BASELINE, BASELINE_INK, BASELINES, DOMINATED, FRONT, FRONT_LINE

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
    return [*_dominated(shown), _stairs(shown), labels, *_front(shown, size=12)]


def small_scatter(shown: Scene, *, legend: bool) -> list[go.Scatter]:
    """The traces of one plot of many: the baselines are named in the legend, not at the points."""
    traces = [*_dominated(shown), _stairs(shown)]
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
    axes = _Axes.of(comparison, phase)
    lines = [_web(comparison.dominated, axes)] if phase == "search" and comparison.dominated else []
    for index, (name, member) in enumerate(ranked_baselines(comparison)):
        style = {"color": BASELINES[index % len(BASELINES)], "width": 2, "dash": "dot"}
        lines.append(_line(name, member, axes, style, group=name, legend=True))
    for index, (name, member) in enumerate(ranked(comparison)):
        style = {"color": FRONT, "width": 3.5 if index == 0 else 2}
        lines.append(_line(name, member, axes, style, group="front", legend=index == 0))
        lines[-1].opacity = 1.0 if index == 0 else 0.55
    return lines


def _front(shown: Scene, *, size: int) -> list[go.Scatter]:
    """The front, and its best member as a star."""
    best, others = shown.front[:1], shown.front[1:]
    groups = ((others, "front", "circle", size), (best, STARRED, "star", size + 6))
    traces = []
    for marks, name, symbol, diameter in groups:
        marker = {"symbol": symbol, "size": diameter, "color": FRONT, "line": _edge(1.5)}
        traces.append(_points(marks, name, {"marker": marker, **_error_bars(marks, FRONT)}))
    return traces


def _dominated(shown: Scene) -> list[go.Scatter]:
    """Who is not on the front: dominated, or beyond a bound."""
    groups = ((shown.beaten, "dominated", "circle"), (shown.barred, BARRED, "x-thin-open"))
    marker = {"size": 7, "color": DOMINATED, "opacity": 0.45}
    return [
        _points(marks, name, {"marker": {**marker, "symbol": symbol}})
        for marks, name, symbol in groups
    ]


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


@dataclass(frozen=True)
class _Axes:
    """The axes of parallel coordinates: a heading for each objective, and its ends if it is scaled.

    Objectives that are all shares have one scale and need no ends.
    """

    phase: Phase
    headings: Mapping[str, str]
    ends: Scale

    @classmethod
    def of(cls, comparison: Comparison, phase: Phase) -> "_Axes":
        headings = {name: heading(comparison, name) for name in comparison.objectives}
        return cls(phase, headings, {} if has_mean(comparison) else scale(comparison, phase))

    def points(self, member: Member) -> list[tuple[str, float]]:
        """The heading and the height of each objective that the member has a score of."""
        known = scores(member, self.phase)
        return [
            (text, place(known[name].mean, self.ends[name]) if self.ends else known[name].mean)
            for name, text in self.headings.items()
            if name in known
        ]


def _line(
    name: str, member: Member, axes: _Axes, style: dict[str, object], *, group: str, legend: bool
) -> go.Scatter:
    points = axes.points(member)
    return go.Scatter(
        x=[text for text, _ in points],
        y=[height for _, height in points],
        name=group,
        legendgroup=group,
        mode="lines+markers",
        line=style,
        customdata=[member.id] * len(points),
        hovertext=hover_text(name, member),
        hoverinfo="text",
        showlegend=legend,
    )


def _web(members: Sequence[Member], axes: _Axes) -> go.Scatter:
    """The lines of all dominated members as one trace: thousands would stall the browser."""
    points = [point for member in members for point in (*axes.points(member), None)]
    return go.Scatter(
        x=[point and point[0] for point in points],
        y=[point and point[1] for point in points],
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
