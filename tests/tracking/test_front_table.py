"""The front beside the baselines in every textual form."""

import csv
import io
import json
import math
from dataclasses import replace

from rich.console import Console

from evomerge.records import Comparison, Estimate, Recipe
from evomerge.tracking.ranking import mean_estimate, ranked
from evomerge.tracking.table import front_table, text_of, to_csv, to_json, to_markdown
from tests.tracking.comparisons import comparison


def printed(width: int, k: int = 2, *, test: bool = True) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(front_table(comparison(k, test=test)))
    return stream.getvalue()


def test_a_wide_terminal_shows_search_and_test_scores_side_by_side() -> None:
    text = printed(160)
    assert "on the search and test items" in text
    assert "0.400 ±.049" in text
    assert "0.390 ±.024" in text


def test_a_narrow_terminal_shows_them_one_under_the_other() -> None:
    text = printed(80)
    assert text.index("on the test items") < text.index("on the search items")
    assert "…" not in text


def test_names_do_not_vanish_from_a_very_narrow_terminal() -> None:
    text = printed(60, k=4)
    first_column = "".join(line[4:].split(" ")[0] for line in text.splitlines())
    assert ranked(comparison(4))[0][0] in first_column
    assert "…" not in text


def test_before_the_test_phase_there_are_search_scores_only() -> None:
    assert "test" not in printed(160, test=False)


def test_the_star_marks_the_best_mean_on_the_search_items() -> None:
    marked = [line for line in printed(160).splitlines() if "★" in line]
    best = ranked(comparison(2))[0][0]
    assert len(marked) == 1
    assert best in marked[0]


def test_front_and_baselines_are_sorted_by_their_means() -> None:
    text = printed(160)
    assert text.index("expert math") < text.index("uniform average") < text.index("base ")


def test_names_are_printed_as_they_are() -> None:
    text = printed(200, k=4)
    assert "acc,none [de]" in text
    assert "<b>say & do</b>" in text


def test_json_has_the_promised_shape() -> None:
    made = comparison(2)
    data = json.loads(json.dumps(to_json(made), allow_nan=False))
    assert set(data) == {"front", "baselines", "minimised", "bounds", "feasible"}
    first = data["front"][0]
    assert set(first) == {"id", "objectives", "selection", "test", "recipe"}
    assert set(first["objectives"]["math_de"]) == {"mean", "se", "n"}
    assert Recipe.from_json(first["recipe"]).digest == first["id"]
    assert set(data["baselines"]) == {"base", "expert math", "uniform average"}


def test_an_unknown_standard_error_is_null() -> None:
    made = comparison(1, n_front=1)
    single = replace(made.front[0], objectives={"math_de": Estimate(0.5, math.nan, 1)})
    data = to_json(replace(made, front=(single,)))
    assert data["front"][0]["objectives"]["math_de"] == {"mean": 0.5, "se": None, "n": 1}


def test_the_csv_has_a_row_for_each_member() -> None:
    made = comparison(3)
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert [row["kind"] for row in rows] == ["front"] * 3 + ["baseline"] * 3
    assert float(rows[0]["search acc,none [de] se"]) > 0


def test_the_markdown_table_has_a_cell_for_each_objective() -> None:
    lines = to_markdown(comparison(3)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 6
    assert {line.count("|") for line in table} == {6}


def test_the_mean_of_independent_objectives_has_the_smaller_error() -> None:
    mean = mean_estimate([Estimate(0.2, 0.03, 10), Estimate(0.4, 0.04, 20)])
    assert math.isclose(mean.mean, 0.3)
    assert math.isclose(mean.se, 0.025)
    assert mean.n == 30


def test_estimates_read_like_scores() -> None:
    assert text_of(Estimate(0.9124, 0.0261, 9)) == "0.912 ±.026"
    assert text_of(Estimate(1.0, math.nan, 1)) == "1.000"
    assert text_of(Estimate(12.5, 1.25, 9)) == "12.500 ±1.250"
    assert text_of(Estimate(871_424.0, 0.0, 1)) == "871,424"
    assert text_of(Estimate(1.1e-5, 3.5e-6, 9)) == "1.1e-05 ±3.5e-06"
    assert text_of(Estimate(math.nan, math.nan, 0)) == "–"


def rescored() -> Comparison:
    """A front whose order the fresh items turn round."""
    made = comparison(2)
    front = tuple(
        replace(
            member,
            selection=dict.fromkeys(made.objectives, Estimate(0.1 * rank, 0.02, 50)),
            pooled=dict.fromkeys(made.objectives, Estimate(0.2 * rank, 0.01, 150)),
        )
        for rank, member in enumerate(dict(ranked(made)).values(), start=1)
    )
    return replace(made, front=front)


def test_search_and_fresh_items_together_choose_the_star() -> None:
    made = rescored()
    assert [name for name, _ in ranked(made)] == [member.id for member in made.front[::-1]]


def test_selection_scores_have_columns_of_their_own_in_every_form() -> None:
    made = rescored()
    stream = io.StringIO()
    Console(file=stream, width=200).print(front_table(made))
    assert "on the search, selection and test items" in stream.getvalue()
    assert "0.300 ±.020" in stream.getvalue()
    best = to_json(made)["front"][0]
    assert best["selection"]["math_de"] == {"mean": 0.1 * 3, "se": 0.02, "n": 50}
    assert best["pooled"]["math_de"]["n"] == 150
    row = next(csv.DictReader(io.StringIO(to_csv(made))))
    assert float(row["selection math_de"]) == 0.3
