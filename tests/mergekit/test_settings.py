"""Values over layers and tensors: gradients and filters."""

import pytest

from evomerge.errors import Problem
from evomerge.mergekit.report import KeyPath, Report
from evomerge.mergekit.settings import Setting, read_setting


def test_a_gradient_is_the_piecewise_linear_curve_through_its_values() -> None:
    setting = _setting([0.2, 1.0, 0.3])
    # What mergekit gives the four layers of a model.
    values = [setting.at("", layer / 3) for layer in range(4)]
    assert values == pytest.approx([0.2, 0.7333, 0.7667, 0.3], abs=1e-4)


def test_a_gradient_of_one_value_is_that_value_everywhere() -> None:
    assert {_setting([0.2]).at("", t) for t in (0.0, 0.5, 1.0)} == {0.2}


def test_the_first_filter_that_is_inside_a_name_decides() -> None:
    setting = _setting(
        [{"filter": "layers.1.", "value": 0.5}, {"filter": "mlp", "value": [0.1, 0.3]}]
    )
    assert setting.at("model.layers.1.mlp.up_proj.weight", 0.5) == 0.5
    assert setting.at("model.layers.2.mlp.up_proj.weight", 0.5) == pytest.approx(0.2)


def test_without_a_filter_that_fits_there_is_no_value() -> None:
    assert _setting([{"filter": "mlp", "value": 1}]).at("lm_head.weight", 0.0) is None


@pytest.mark.parametrize("everything", [{}, {"filter": "*"}, {"filter": None}])
def test_a_star_or_no_filter_fits_every_tensor(everything: dict[str, object]) -> None:
    assert _setting([{**everything, "value": 0.25}]).at("lm_head.weight", 0.0) == 0.25


def test_switches_are_numbers() -> None:
    assert _setting(True).numbers == (1.0,)


@pytest.mark.parametrize(
    "wrong", ["0.5", [], [0.1, "a"], {"value": 1}, float("nan"), 10**400, None]
)
def test_what_is_no_value_is_reported_at_its_place(wrong: object) -> None:
    report = Report(_problem)
    assert read_setting(("weight",), wrong, report).rows == ()
    (problem,) = report.problems
    assert problem.where == "weight"
    assert "expected a number, a list of numbers" in problem.message


def test_a_row_without_a_value_is_reported() -> None:
    report = Report(_problem)
    read_setting(("t",), [{"filter": "mlp", "valeu": 1}], report)
    assert [str(problem) for problem in report.problems] == [
        "t.0.valeu: unknown key; expected one of filter, value; did you mean `value`?",
        "t.0: has no `value`, expected `- filter: TEXT` with `value: NUMBER` below",
    ]


def _setting(node: object) -> Setting:
    report = Report(_problem)
    setting = read_setting((), node, report)
    assert not report.problems
    return setting


def _problem(path: KeyPath, message: str) -> Problem:
    return Problem(".".join(map(str, path)), message)
