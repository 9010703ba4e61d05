"""The front as a picture that does not move. Needs no display."""

from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evomerge.records import Comparison, Phase
from evomerge.tracking.directions import heading
from evomerge.tracking.geometry import BARRED, Mark, Scene, baseline_positions, scene, window
from evomerge.tracking.ranking import STARRED, phases_of
from evomerge.tracking.style import (
    BASELINE,
    BASELINE_INK,
    BASELINES,
    DOMINATED,
    FRONT,
    FRONT_LINE,
    GRID,
    INK,
    MUTED,
)

_DPI = 160
_MARKERS = ("D", "s", "^", "P", "p", "h", "v")
_OFFSETS = {"left": (-6, "right"), "center": (0, "center"), "right": (6, "left")}
_HEIGHTS = {"bottom": (-5, "top"), "middle": (0, "center"), "top": (5, "bottom")}


def front_png(comparison: Comparison, path: Path, phase: Phase | None = None) -> None:
    """Write the front as a PNG, on the test items where there are scores of them.

    Two objectives are drawn as one plot with labelled baselines, more as one plot for each pair.
    A single objective is drawn against itself.
    """
    phase = phase or phases_of(comparison)[-1]
    objectives = comparison.objectives
    pairs = list(combinations(objectives, 2)) or [(objectives[0], objectives[0])]
    n_columns = min(len(pairs), 3)
    n_rows = -(-len(pairs) // n_columns)
    size = (9.0, 5.4) if len(pairs) == 1 else (4.3 * n_columns, 3.7 * n_rows + 0.5)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for (x, y), plot in zip(pairs, axes, strict=False):
        shown = scene(comparison, phase, x, y)
        _draw(plot, shown, labelled=len(pairs) == 1)
        names = (heading(comparison, x), heading(comparison, y))
        across, up = (f"{n}  ({phase} items)" if len(pairs) == 1 else n for n in names)
        plot.set_xlabel(across)
        plot.set_ylabel(up)
    for plot in axes[len(pairs) :]:
        plot.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=min(len(names), 5),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    figure.savefig(path)


def _draw(plot: Axes, shown: Scene, *, labelled: bool) -> None:
    _prepare(plot, shown)
    for marks, label, marker in ((shown.beaten, "dominated", "o"), (shown.barred, BARRED, "x")):
        if marks:
            plot.scatter(*_xy(marks), s=20, color=DOMINATED, alpha=0.4, marker=marker, label=label)
    corners = np.array(shown.corners()).reshape(-1, 2)
    plot.plot(*corners.T, color=FRONT_LINE, lw=1.2, ls=":", zorder=1)
    _draw_baselines(plot, shown, labelled=labelled)
    _bars(plot, shown.front, FRONT)
    size = 70 if labelled else 34
    _dots(plot, shown.front[1:], "front", FRONT, size=size)
    _dots(plot, shown.front[:1], STARRED, FRONT, size=2.5 * size, marker="*")


def _prepare(plot: Axes, shown: Scene) -> None:
    view = window(shown, (1, 1))
    plot.set_xlim(*view.x)
    plot.set_ylim(*view.y)
    plot.grid(color=GRID, lw=0.8)
    plot.set_axisbelow(True)
    plot.tick_params(colors=MUTED, labelsize=9, length=0)
    plot.xaxis.label.set_color(INK)
    plot.yaxis.label.set_color(INK)
    for side, spine in plot.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def _draw_baselines(plot: Axes, shown: Scene, *, labelled: bool) -> None:
    if not labelled:
        for index, mark in enumerate(shown.baselines):
            color = BASELINES[index % len(BASELINES)]
            _dots(plot, (mark,), mark.name, color, size=34, marker=_MARKERS[index % len(_MARKERS)])
        return
    _bars(plot, shown.baselines, BASELINE)
    _dots(plot, shown.baselines, "baselines", BASELINE, size=56, marker="D")
    positions = baseline_positions(shown, window(shown, (820.0, 430.0)))
    for mark, position in zip(shown.baselines, positions, strict=True):
        _label(plot, mark, position)


def _label(plot: Axes, mark: Mark, position: str) -> None:
    vertical, horizontal = position.split()
    across, ha = _OFFSETS[horizontal]
    up, va = _HEIGHTS[vertical]
    plot.annotate(
        mark.name,
        (mark.x, mark.y),
        xytext=(across, up),
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=9.5,
        color=BASELINE_INK,
        zorder=5,
    )


def _bars(plot: Axes, marks: tuple[Mark, ...], color: str) -> None:
    xs, ys = _xy(marks)
    x_errors, y_errors = [mark.x_se for mark in marks], [mark.y_se for mark in marks]
    plot.errorbar(xs, ys, y_errors, x_errors, fmt="none", ecolor=color, elinewidth=0.9, zorder=2)


def _dots(
    plot: Axes, marks: tuple[Mark, ...], label: str, color: str, *, size: float, marker: str = "o"
) -> None:
    xs, ys = _xy(marks)
    plot.scatter(
        xs, ys, s=size, color=color, marker=marker, edgecolor="white", lw=0.9, label=label, zorder=4
    )


def _xy(marks: tuple[Mark, ...]) -> tuple[list[float], list[float]]:
    return [mark.x for mark in marks], [mark.y for mark in marks]
