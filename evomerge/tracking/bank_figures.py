"""Interactive figures of an item bank: curves of items, information, difficulties and abilities."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from evomerge.irt.summary import OUTERMOST, REACH, BankSummary
from evomerge.tracking.figures import styled
from evomerge.tracking.style import BASELINE, DOMINATED, FRONT, FRONT_LINE

COLOURS = {"best": FRONT, "typical": DOMINATED, "worst": BASELINE}
BIN = 0.5
ABILITY = "ability, in standard deviations of the prior"


def curves_figure(summary: BankSummary, chosen: Mapping[str, Sequence[int]]) -> go.Figure:
    """The probability of a right answer by ability, of some items of each kind."""
    figure = go.Figure()
    for kind, places in chosen.items():
        for index, place in enumerate(places):
            item = summary.items[place]
            figure.add_scatter(
                x=summary.abilities,
                y=summary.curves[:, place],
                mode="lines",
                line={"color": COLOURS[kind], "width": 2},
                opacity=0.8,
                name=kind,
                legendgroup=kind,
                showlegend=index == 0,
                hovertemplate=f"item {item.item} ({item.flag})<br>slope {item.slope:.2f}, "
                "ability %{x:.1f}: %{y:.2f}<extra></extra>",
            )
    figure.update_xaxes(title_text=ABILITY, range=[-REACH, REACH])
    figure.update_yaxes(title_text="probability of a right answer", range=[-0.02, 1.02])
    return styled(figure, height=420)


def information_figure(summary: BankSummary) -> go.Figure:
    """What all items together tell, by ability."""
    figure = go.Figure()
    figure.add_scatter(
        x=summary.abilities,
        y=summary.information,
        mode="lines",
        fill="tozeroy",
        line={"color": FRONT, "width": 2},
        fillcolor="rgba(99, 102, 241, .12)",
        hovertemplate="ability %{x:.1f}: information %{y:.1f}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title_text=ABILITY, range=[-REACH, REACH])
    figure.update_yaxes(title_text="information of all items", rangemode="tozero")
    return styled(figure, height=320)


def difficulties_figure(summary: BankSummary) -> go.Figure:
    """Where the items are hard and where the models are able, as shares."""
    difficulties = [item.difficulty for item in summary.items if item.difficulty is not None]
    edges = np.arange(-OUTERMOST, OUTERMOST + BIN, BIN)
    items = np.histogram(difficulties, edges)[0] / max(len(summary.items), 1)
    points = np.clip(summary.ability_points, -OUTERMOST, OUTERMOST)
    models = np.histogram(points, edges, weights=summary.ability_shares)[0]
    centres = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure()
    for name, shares, colour in (("items", items, FRONT_LINE), ("models", models, BASELINE)):
        figure.add_bar(
            x=centres,
            y=shares,
            name=f"{name}: {'difficulty' if name == 'items' else 'ability'}",
            marker_color=colour,
            opacity=0.75,
            width=BIN,
            hovertemplate=f"%{{y:.1%}} of the {name} around %{{x:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title_text=ABILITY, range=[-OUTERMOST, OUTERMOST])
    figure.update_yaxes(title_text="share", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=320)
