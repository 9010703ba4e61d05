"""A recipe as heat maps: layer groups down, experts across, one panel for each parameter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evomerge.records import ParameterValue, Recipe
from evomerge.tracking.style import DIVERGING, FONT, INK, SEQUENTIAL

_ALL_EXPERTS = "all experts"
_ROW_PX, _COLUMN_PX = 22, 92
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
    shown = panels(recipe)
    widths = [len(panel.columns) for panel in shown]
    figure = make_subplots(
        cols=max(len(shown), 1),
        subplot_titles=[panel.parameter for panel in shown],
        column_widths=widths or None,
        shared_yaxes=True,
        horizontal_spacing=0.04,
    )
    for column, panel in enumerate(shown, start=1):
        figure.add_trace(_trace(panel), row=1, col=column)
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False, automargin=True)
    figure.update_xaxes(side="bottom", ticks="", showgrid=False)
    figure.update_layout(
        height=110 + _ROW_PX * max(len(recipe.groups), 2),
        width=190 + _COLUMN_PX * max(sum(widths), 2),
        template="none",
        font={"family": FONT, "size": 12, "color": INK},
        margin={"l": 10, "r": 10, "t": 40, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#f1f5f9",
    )
    return figure


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


def _trace(panel: Panel) -> go.Heatmap:
    limit = panel.largest
    many = len(panel.rows) > _MAX_ROWS_WITH_TEXT
    return go.Heatmap(
        z=[[None if math.isnan(value) else value for value in row] for row in panel.values],
        x=list(panel.columns),
        y=list(panel.rows),
        colorscale=list(DIVERGING if panel.signed else SEQUENTIAL),
        zmin=-limit if panel.signed else 0.0,
        zmax=limit,
        texttemplate=None if many else "%{z:.2f}",
        hovertemplate="%{y}<br>%{x}: %{z:.4f}<extra>" + panel.parameter + "</extra>",
        showscale=False,
        xgap=2,
        ygap=2,
    )
