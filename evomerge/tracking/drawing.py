"""A recipe as an SVG picture: the heat maps of `heatmap.py`, written by hand.

A front has a hundred members: a plotting library takes a fifth of a second for each.
"""

import math
from html import escape

from evomerge.records import Recipe
from evomerge.tracking.heatmap import Panel, panels
from evomerge.tracking.style import DIVERGING, FONT, INK, SEQUENTIAL

_CELL_W, _CELL_H = 74, 24
_CHARACTER_W = 6.6
_TOP, _BOTTOM, _GAP = 30, 28, 14


def heatmap_svg(recipe: Recipe) -> str:
    """Layer groups down, experts across, one panel for each parameter."""
    shown = panels(recipe)
    rows = shown[0].rows if shown else ()
    left = 16 + _CHARACTER_W * max((len(row) for row in rows), default=0)
    parts = [_text(left - 8, _middle(i), row, "end") for i, row in enumerate(rows)]
    x = left
    for panel in shown:
        parts += _panel(panel, x)
        x += _CELL_W * len(panel.columns) + _GAP
    height = _TOP + _CELL_H * len(rows) + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x:.0f}" height="{height}" '
        f'viewBox="0 0 {x:.0f} {height}" font-family="{escape(FONT)}" font-size="12" fill="{INK}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, left: float) -> list[str]:
    n_rows, n_columns = len(panel.rows), len(panel.columns)
    parts = [_text(left + n_columns * _CELL_W / 2, _TOP / 2, panel.parameter, size=14)]
    for column, name in enumerate(panel.columns):
        x = left + column * _CELL_W
        parts += [_cell(panel, row, column, x) for row in range(n_rows)]
        parts.append(_text(x + _CELL_W / 2, _middle(n_rows), name))
    return parts


def _cell(panel: Panel, row: int, column: int, x: float) -> str:
    value = panel.values[row][column]
    if math.isnan(value):
        return ""
    y = _TOP + row * _CELL_H
    ink = "white" if abs(value) > 0.55 * panel.largest else INK
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{_CELL_W - 2}" height="{_CELL_H - 2}" rx="2" '
        f'fill="{_shade(panel, value)}"/>'
        + _text(x + _CELL_W / 2 - 1, _middle(row) - 1, f"{value:.2f}", fill=ink)
    )


def _shade(panel: Panel, value: float) -> str:
    """The colour of a value, linearly between those of the scale."""
    colors = DIVERGING if panel.signed else SEQUENTIAL
    share = (value / panel.largest + 1) / 2 if panel.signed else value / panel.largest
    place = min(max(share, 0.0), 1.0) * (len(colors) - 1)
    index = min(int(place), len(colors) - 2)
    pairs = zip(_rgb(colors[index]), _rgb(colors[index + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - index)):02x}" for a, b in pairs)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def _middle(row: int) -> float:
    return _TOP + (row + 0.5) * _CELL_H


def _text(
    x: float, y: float, text: str, anchor: str = "middle", *, size: int = 12, fill: str = INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="central" '
        f'font-size="{size}" fill="{fill}">{escape(text)}</text>'
    )
