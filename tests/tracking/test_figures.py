"""Figures of one to four objectives, heat maps, label placement, and the geometry of a front."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.records import GroupRecipe, Phase, Recipe
from evomerge.tracking.drawing import heatmap_svg
from evomerge.tracking.figures import coordinates_figure, front_figure
from evomerge.tracking.geometry import padded_range, staircase
from evomerge.tracking.heatmap import heatmap, panels
from evomerge.tracking.hover import hover_text
from evomerge.tracking.placement import Box, label_box, place_labels
from evomerge.tracking.still import front_png
from tests.tracking.comparisons import comparison, recipe

POINTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


@pytest.mark.parametrize(("k", "phase"), [(1, "test"), (2, "search"), (3, "test"), (4, "search")])
def test_every_candidate_is_a_point_of_the_front_figure(k: int, phase: Phase) -> None:
    made = comparison(k)
    traces = front_figure(made, phase).data
    shown = {candidate for trace in traces for candidate in trace.customdata or ()}
    assert {member.id for member in made.members()} <= shown


def test_the_dominated_are_shown_on_search_items_only() -> None:
    made = comparison(2)
    dominated = {member.id for member in made.dominated}
    for phase, expected in (("search", dominated), ("test", set())):
        traces = front_figure(made, phase).data
        shown = {candidate for trace in traces for candidate in trace.customdata or ()}
        assert shown & dominated == expected


def test_points_carry_standard_errors_as_bars() -> None:
    made = comparison(2)
    best = front_figure(made).data[-1]
    member = next(member for member in made.front if member.id == best.customdata[0])
    assert best.error_x.array == (member.objectives["math_de"].se,)
    assert best.error_y.array == (member.objectives["lists"].se,)


def test_a_front_without_members_can_be_drawn(tmp_path: Path) -> None:
    empty = replace(comparison(2), front=(), baselines={}, dominated=())
    front_figure(empty)
    front_png(empty, tmp_path / "front.png")


def test_coordinates_have_one_line_for_each_member() -> None:
    made = comparison(3)
    assert len(coordinates_figure(made, "test").data) == 6
    dominated, *others = coordinates_figure(made, "search").data
    assert len(others) == 6
    means = [estimate.mean for member in made.dominated for estimate in member.objectives.values()]
    assert [y for y in dominated.y if y is not None] == means
    assert list(dominated.y).count(None) == len(made.dominated)  # a gap after each line


def test_hovering_tells_scores_and_recipe_and_escapes_names() -> None:
    made = comparison(4)
    text = hover_text("a<b", made.front[1])
    assert "a&lt;b" in text
    assert "test math_de 0.490" in text
    assert "&lt;b&gt;say" in text
    assert "mean coefficient: math 0.10, german 0.50" in text


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_still_picture_is_a_png(k: int, tmp_path: Path) -> None:
    path = tmp_path / "front.png"
    front_png(comparison(k), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_heat_map_has_a_panel_for_each_parameter() -> None:
    coefficient, density = panels(recipe(3))
    assert coefficient.columns == ("math", "german")
    assert coefficient.values[0] == pytest.approx((0.3, 0.5))
    assert density.columns == ("all experts",)
    assert [trace.name for trace in heatmap(recipe(3)).data] == [None, None]


def test_a_parameter_that_a_group_lacks_is_left_blank() -> None:
    mixed = Recipe(
        ("a", "b"),
        {
            "embeddings": GroupRecipe("linear", {"coefficient": (1.0, 0.0)}),
            "layers.0-0": GroupRecipe("ties", {"coefficient": (-0.5, 1.0), "density": 0.2}),
        },
    )
    coefficient, density = panels(mixed)
    assert coefficient.rows == ("embeddings · linear", "layers.0-0 · ties")
    assert coefficient.signed
    assert not density.signed
    assert heatmap(mixed).data[1].z[0][0] is None
    cells = ElementTree.fromstring(heatmap_svg(mixed)).iter("{http://www.w3.org/2000/svg}rect")  # noqa: S314
    assert len([*cells]) == 1 + 4 + 1  # the ground, the coefficients, one density


@pytest.mark.parametrize(
    ("value", "color"), [(0.0, "#ffffff"), (0.25, "#c7d2fe"), (0.125, "#e3e8fe"), (1.0, "#1e1b4b")]
)
def test_a_cell_is_shaded_by_its_share_of_the_largest_value(value: float, color: str) -> None:
    values = {"coefficient": (value, 1.0)}
    picture = heatmap_svg(Recipe(("a", "b"), {"head": GroupRecipe("linear", values)}))
    assert picture.split('rx="2" fill="')[1].startswith(color)


@given(POINTS)
def test_no_point_lies_beyond_the_staircase(points: list[tuple[float, float]]) -> None:
    corners = staircase(points)
    assert max(y for _, y in corners) == max(y for _, y in points)
    assert max(x for x, _ in corners) == max(x for x, _ in points)
    for x, y in points:
        assert any(corner_x >= x and corner_y >= y for corner_x, corner_y in corners)


@given(POINTS)
def test_a_staircase_never_rises_to_the_right(points: list[tuple[float, float]]) -> None:
    corners = staircase(points)
    assert corners == sorted(corners, key=lambda corner: (corner[0], -corner[1]))
    assert all(left[1] >= right[1] for left, right in pairwise(corners))


def test_an_axis_shows_its_error_bars() -> None:
    low, high = padded_range([(0.2, 0.1), (0.8, 0.3)])
    assert low < 0.1
    assert high > 1.1


def test_labels_of_close_points_do_not_cover_each_other() -> None:
    anchors = [(200.0, 200.0), (215.0, 204.0), (205.0, 190.0)]
    texts = ["uniform average", "task arithmetic", "base"]
    positions = place_labels(anchors, texts, anchors, (600.0, 400.0))
    boxes = [label_box(*triple) for triple in zip(anchors, texts, positions, strict=True)]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert all(a.overlap(b) == 0 for a, b in pairs)


def test_a_label_at_the_edge_stays_inside() -> None:
    (position,) = place_labels([(595.0, 200.0)], ["expert math"], [], (600.0, 400.0))
    box = label_box((595.0, 200.0), "expert math", position)
    assert box.overlap(Box(0, 0, 600, 400)) == (box.right - box.left) * (box.top - box.bottom)
