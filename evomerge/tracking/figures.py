"""Interactive figures of a front: dots, scatter or pairs, and parallel coordinates."""

from itertools import combinations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evomerge.records import Comparison, Phase
from evomerge.tracking import traces
from evomerge.tracking.directions import has_mean, heading
from evomerge.tracking.geometry import scene, window
from evomerge.tracking.style import FONT, GRID, INK, MUTED

_PLOT_PX = (980.0, 520.0)


def front_figure(comparison: Comparison, phase: Phase = "search") -> go.Figure:
    """The front on search or test items.

    One objective is drawn as dots with error bars, two as a scatter, more as a scatter of each
    pair. Every point of a candidate carries its id as `customdata`.
    """
    objectives = comparison.objectives
    if len(objectives) == 1:
        return _dots(comparison, phase)
    if len(objectives) == 2:
        return _scatter(comparison, phase)
    return _pairs(comparison, phase)


def _scatter(comparison: Comparison, phase: Phase) -> go.Figure:
    x, y = comparison.objectives
    shown = scene(comparison, phase, x, y)
    view = window(shown, _PLOT_PX)
    figure = go.Figure(traces.scatter(shown, view))
    across, up = (f"{heading(comparison, name)} ({phase} items)" for name in (x, y))
    figure.update_xaxes(title_text=across, range=list(view.x))
    figure.update_yaxes(title_text=up, range=list(view.y))
    return styled(figure, height=640)


def _pairs(comparison: Comparison, phase: Phase) -> go.Figure:
    pairs = list(combinations(comparison.objectives, 2))
    n_rows = -(-len(pairs) // 3)
    figure = make_subplots(
        n_rows, 3, horizontal_spacing=0.075, vertical_spacing=0.2 / n_rows if n_rows > 1 else 0
    )
    for index, (x, y) in enumerate(pairs):
        row, column = index // 3 + 1, index % 3 + 1
        for trace in traces.small_scatter(scene(comparison, phase, x, y), legend=index == 0):
            figure.add_trace(trace, row=row, col=column)
        figure.update_xaxes(title_text=heading(comparison, x), row=row, col=column)
        figure.update_yaxes(title_text=heading(comparison, y), row=row, col=column)
    return styled(figure, height=90 + 370 * n_rows)


def _dots(comparison: Comparison, phase: Phase) -> go.Figure:
    figure = go.Figure(traces.dots(comparison, phase))
    name = heading(comparison, comparison.objectives[0])
    figure.update_xaxes(title_text=f"{name} ({phase} items)")
    n_rows = len(comparison.front) + len(comparison.baselines)
    return styled(figure, height=180 + 26 * n_rows)


def coordinates_figure(comparison: Comparison, phase: Phase = "search") -> go.Figure:
    """Every member as a line across the objectives: its shape tells what it trades.

    Objectives without a common scale are drawn from the worst of front and baselines to the best.
    """
    figure = go.Figure(traces.coordinates(comparison, phase))
    what = "score" if has_mean(comparison) else "from the worst (0) to the best (1)"
    figure.update_yaxes(title_text=f"{what} ({phase} items)")
    return styled(figure, height=440)


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure in the dress of all our pages."""
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "ticks": "outside",
        "tickcolor": GRID,
        "title_font": {"size": 14, "color": INK},
        "tickfont": {"color": MUTED},
        "title_standoff": 8,
        "automargin": True,
    }
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 24, "t": 48, "b": 56},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"bgcolor": "white", "bordercolor": GRID, "font_size": 12, "align": "left"},
        hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#cbd5e1", "activecolor": MUTED},
    )
    return figure
