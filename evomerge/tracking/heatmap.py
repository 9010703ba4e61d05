"""A recipe as heat maps: layer groups down, experts across, one panel for each parameter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from evomerge.records import ParameterValue, Recipe
from evomerge.tracking.style import DIVERGING, FONT, INK, SEQUENTIAL

_ALL_EXPERTS = "all experts"
_ROW_PX, _COLUMN_PX = 22, 92
_GAP = 0.04
_MAX_ROWS_WITH_TEXT = 40


@dataclass(frozen=True)
class Panel:
    """One parameter of a recipe: `values[row][column]`, NaN where a group does not have it."""

    parameter: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    @property
    def signed(self) -> bool:
        """Whether any value is negative."""
        return any(value < 0 for row in self.values for value in row)

    @property
    def largest(self) -> float:
        """The largest absolute value, 1 where there is none."""
        known = [abs(value) for row in self.values for value in row if not math.isnan(value)]
        return max(known, default=0.0) or 1.0


def panels(recipe: Recipe) -> tuple[Panel, ...]:
    """One panel for each parameter of the recipe, in the order of first appearance."""
    names = dict.fromkeys(name for group in recipe.groups.values() for name in group.values)
    return tuple(_panel(recipe, name) for name in names)


def heatmap(recipe: Recipe) -> go.Figure:
    """The recipe's values as an interactive figure."""
    return go.Figure(heatmap_json(recipe))


def heatmap_json(recipe: Recipe) -> dict[str, Any]:
    """The same figure as plain JSON values: a page holds many, and plotly's classes are slow."""
    shown = panels(recipe)
    spans = _spans([len(panel.columns) for panel in shown])
    layout: dict[str, Any] = {
        "height": 110 + _ROW_PX * max(len(recipe.groups), 2),
        "width": 190 + _COLUMN_PX * max(sum(len(panel.columns) for panel in shown), 2),
        "font": {"family": FONT, "size": 12, "color": INK},
        "margin": {"l": 10, "r": 10, "t": 40, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#f1f5f9",
        "annotations": [_title(panel, span) for panel, span in zip(shown, spans, strict=True)],
        "yaxis": {"autorange": "reversed", "showgrid": False, "automargin": True, "ticks": ""},
    }
    for number, span in enumerate(spans, start=1):
        layout[f"xaxis{number}"] = {"domain": span, "showgrid": False, "ticks": "", "anchor": "y"}
    traces = [_trace(panel, number) for number, panel in enumerate(shown, start=1)]
    return {"data": traces, "layout": layout}


def _spans(widths: Sequence[int]) -> list[list[float]]:
    """The left and right end of each panel, by its number of columns, of a width of 1."""
    unit = (1.0 - _GAP * max(len(widths) - 1, 0)) / max(sum(widths), 1)
    starts = [sum(widths[:index]) * unit + index * _GAP for index in range(len(widths))]
    return [[start, start + width * unit] for start, width in zip(starts, widths, strict=True)]


def _title(panel: Panel, span: list[float]) -> dict[str, Any]:
    return {
        "text": panel.parameter,
        "x": sum(span) / 2,
        "y": 1.0,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 15},
    }


def _panel(recipe: Recipe, name: str) -> Panel:
    values = [group.values for group in recipe.groups.values()]
    per_expert = any(isinstance(value.get(name), tuple) for value in values)
    columns = recipe.experts if per_expert else (_ALL_EXPERTS,)
    rows = tuple(
        f"{group} · {recipe.groups[group].method}" if _is_mixed(recipe) else group
        for group in recipe.groups
    )
    return Panel(name, rows, columns, tuple(_row(value, name, len(columns)) for value in values))


def _is_mixed(recipe: Recipe) -> bool:
    return len({group.method for group in recipe.groups.values()}) > 1


def _row(values: Mapping[str, ParameterValue], name: str, n_columns: int) -> tuple[float, ...]:
    value = values.get(name, math.nan)
    return value if isinstance(value, tuple) else (value,) * n_columns


def _trace(panel: Panel, number: int) -> dict[str, Any]:
    colors = DIVERGING if panel.signed else SEQUENTIAL
    many = len(panel.rows) > _MAX_ROWS_WITH_TEXT
    return {
        "type": "heatmap",
        "z": [[None if math.isnan(value) else value for value in row] for row in panel.values],
        "x": list(panel.columns),
        "y": list(panel.rows),
        "xaxis": f"x{number}",
        "colorscale": [[index / (len(colors) - 1), color] for index, color in enumerate(colors)],
        "zmin": -panel.largest if panel.signed else 0.0,
        "zmax": panel.largest,
        "texttemplate": "" if many else "%{z:.2f}",
        "hovertemplate": f"%{{y}}<br>%{{x}}: %{{z:.4f}}<extra>{panel.parameter}</extra>",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
