"""Reports tell which way is better, who is best by that, and who keeps the bounds."""

import csv
import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evomerge.records import Bound, Comparison, Estimate, Measure, Member, Progress
from evomerge.tracking.directions import bound_text, heading, legend
from evomerge.tracking.figures import coordinates_figure, front_figure
from evomerge.tracking.geometry import staircase
from evomerge.tracking.hover import hover_text
from evomerge.tracking.live import progress_line
from evomerge.tracking.pace import Pace
from evomerge.tracking.page import front_page
from evomerge.tracking.ranking import best_means, place, ranked, ranked_baselines
from evomerge.tracking.table import front_table, to_csv, to_json, to_markdown
from tests.tracking.comparisons import recipe

MEASURES = {
    "acc": Measure(is_share=True),
    "surprise": Measure("perplexity", higher_is_better=False),
    "old": Measure(is_share=True),
}
BOUND = Bound(">=", 0.45, ">= 0.9 * base")


def member(seed: int, acc: float, surprise: float, old: float) -> Member:
    """A member that is as good on the test items."""
    made = recipe(seed)
    objectives = {"acc": Estimate(acc, 0.02, 50), "surprise": Estimate(surprise, 0.5, 50)}
    held = {"old": Estimate(old, 0.03, 50)}
    missing = BOUND.shortfall(old)
    return Member(
        made.digest, made, objectives, {**objectives, **held}, constraints=held, violation=missing
    )


SHORT, RIGHT, BOTH = member(1, 0.3, 8.0, 0.5), member(2, 0.7, 30.0, 0.6), member(3, 0.6, 9.0, 0.47)
BASE, BARRED = member(4, 0.1, 12.0, 0.5), member(5, 0.9, 5.0, 0.2)


def comparison() -> Comparison:
    return Comparison(
        objectives=("acc", "surprise"),
        front=(SHORT, RIGHT, BOTH),
        baselines={"base": BASE},
        dominated=(BARRED,),
        measures=MEASURES,
        bounds={"old": BOUND},
    )


def without_anybody_feasible() -> Comparison:
    return replace(comparison(), front=(BARRED,), dominated=())


def printed(shown: Comparison, width: int = 160) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(front_table(shown))
    return stream.getvalue()


def test_the_best_is_the_best_balance_of_what_is_better_up_and_down() -> None:
    assert [name for name, _ in ranked(comparison())] == [BOTH.id, SHORT.id, RIGHT.id]
    smallest = replace(comparison(), objectives=("surprise",))
    assert ranked(smallest)[0][0] == SHORT.id
    assert best_means(comparison(), "search") == {"acc": 0.7, "surprise": 8.0}


def test_baselines_are_sorted_the_same_way() -> None:
    worse = member(6, 0.1, 40.0, 0.5)
    shown = replace(comparison(), baselines={"worse": worse, "base": BASE})
    assert [name for name, _ in ranked_baselines(shown)] == ["base", "worse"]


def test_the_table_shows_natural_values_arrows_bounds_and_no_mean_of_unlike_things() -> None:
    text = printed(comparison())
    assert "surprise ↓" in text
    assert "acc ↑" in text
    assert "30.000 ±.500" in text
    assert "old >= 0.9 * base (0.45)" in text
    assert "0.470 ±.030 ✓" in text
    assert "mean" not in text.partition("↑ larger is better")[0]
    assert "Every merge on the front meets the bounds: old >= 0.9 * base (0.45)." in text


def test_a_front_that_misses_its_bounds_says_so_everywhere() -> None:
    shown = without_anybody_feasible()
    words = "No merge meets every bound (old >= 0.9 * base (0.45))"
    assert words in " ".join(printed(shown).split())
    assert "0.200 ±.030 ✗" in printed(shown)
    assert words in to_markdown(shown)
    assert "No merge meets every bound (old &gt;= 0.9 * base (0.45))" in front_page(shown, "run")
    assert not to_json(shown)["feasible"]


def test_json_has_directions_bounds_and_who_meets_them() -> None:
    data = json.loads(json.dumps(to_json(comparison()), allow_nan=False))
    assert data["minimised"] == ["surprise"]
    assert data["bounds"] == {"old": {"require": ">= 0.9 * base", "limit": 0.45}}
    assert data["feasible"] is True
    first = data["front"][0]
    assert set(first["objectives"]) == {"acc", "surprise"}
    assert first["constraints"]["old"] == {"mean": 0.47, "se": 0.03, "n": 50, "feasible": True}
    assert first["violation"] == 0.0


def test_a_limit_that_is_not_known_yet_judges_nobody() -> None:
    early = replace(comparison(), bounds={"old": replace(BOUND, limit=math.nan)})
    data = json.loads(json.dumps(to_json(early), allow_nan=False))
    assert data["bounds"]["old"]["limit"] is None
    assert data["front"][0]["constraints"]["old"]["feasible"] is None
    assert "old >= 0.9 * base" in printed(early)
    assert "✓" not in printed(early)


def test_the_csv_has_columns_of_bounded_quantities() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison()))))
    assert rows[0]["search old"] == "0.47"
    assert rows[0]["search surprise"] == "9"


def test_the_page_marks_directions_and_the_best_of_each_column() -> None:
    page = front_page(comparison(), "run")
    table = page[page.index("<table>") : page.index("</table>")]
    assert "<th>surprise ↓</th>" in table
    assert {"<b>8.000</b>", "<b>0.700</b>"} <= set(table.replace("<td>", " ").split())
    assert "<b>30.000</b>" not in table
    assert "↑ larger is better, ↓ smaller is better" in page
    assert "misses a bound" in page


def test_what_misses_a_bound_is_told_from_what_is_dominated() -> None:
    traces = {trace.name: trace for trace in front_figure(comparison(), "search").data}
    assert list(traces["misses a bound"].customdata) == [BARRED.id]
    assert not traces["dominated"].customdata
    assert "misses its bounds by 0.556" in hover_text("x", BARRED)


def test_axes_without_a_common_scale_go_from_worst_to_best() -> None:
    figure = coordinates_figure(comparison(), "search")
    heights = {trace.customdata[0]: list(trace.y) for trace in figure.data if trace.customdata}
    assert heights[SHORT.id] == [pytest.approx(1 / 3), 1.0]
    assert heights[RIGHT.id] == [1.0, 0.0]
    assert list(figure.data[-1].x) == ["acc ↑", "surprise ↓"]
    assert place(3.0, (3.0, 3.0)) == 0.5


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(POINTS, st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1)]))
def test_a_staircase_of_minimised_axes_is_the_mirror_image(
    points: list[tuple[float, float]], signs: tuple[int, int]
) -> None:
    across, up = signs
    mirrored = staircase([(across * x, up * y) for x, y in points])
    assert staircase(points, signs) == [(across * x, up * y) for x, y in mirrored]


def test_where_larger_is_better_throughout_names_stand_alone() -> None:
    plain = replace(comparison(), objectives=("acc",), bounds={})
    assert heading(plain, "acc") == "acc"
    assert legend(plain) == "larger is better"
    assert legend(replace(comparison(), objectives=("surprise",))) == "↓ smaller is better"
    assert bound_text(Bound("<=", 3.0, "<= 3")) == "<= 3"
    assert bound_text(Bound("<=", 803_968.0, "<= 1 * base")) == "<= 1 * base (803,968)"


def test_mlflow_gets_natural_values_what_is_missing_and_no_mean_of_unlike_things() -> None:
    from evomerge.tracking.entities import member_values  # imports MLflow: takes seconds

    values = member_values(BARRED, has_mean=False)
    assert (values["search/surprise"], values["search/old"]) == (5.0, 0.2)
    assert values["violation"] == pytest.approx(0.5556, abs=1e-4)
    assert not any(name.endswith("/mean") for name in values)


def test_the_terminal_counts_the_feasible_and_marks_directions() -> None:
    best = {"acc": 0.5, "surprise": 8.0}
    progress = Progress(3, 0, 9, best, 0.1, 1, minimised=frozenset({"surprise"}), n_feasible=2)
    line = progress_line(progress, Pace())
    assert "feasible 2" in line
    assert "best acc ↑ 0.500, surprise ↓ 8.000" in line
