"""`require` says a bound in one way, and refuses what it cannot mean."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import UsageError
from evomerge.records import Bound
from evomerge.run.bounds import Requirement, parse_requirement

NUMBERS = st.floats(-1e6, 1e6).map(lambda number: float(f"{number:g}"))
RELATIONS = st.sampled_from([">=", "<="])
BASELINES = st.none() | st.sampled_from(["base", "uniform", "my-expert_2.1"])


@given(st.builds(Requirement, RELATIONS, NUMBERS, BASELINES))
def test_what_is_written_is_read_back(requirement: Requirement) -> None:
    assert parse_requirement(str(requirement)) == requirement


@pytest.mark.parametrize("text", [">=0.98*base", "  >= .98 *base ", ">= 9.8e-1 * base"])
def test_spaces_and_forms_of_numbers_do_not_matter(text: str) -> None:
    assert parse_requirement(text) == Requirement(">=", 0.98, "base")


@pytest.mark.parametrize(
    "text",
    ["", "0.98", "> 0.98", "== 1", ">= base", ">= 0.98 base", ">= 0.98 *", "<= nan", "<= 1e999"],
)
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected `>=` or `<=`, a number, and `\\* BASELINE`"):
        parse_requirement(text)


def test_a_bound_comes_to_a_number_and_is_missed_by_a_part_of_it() -> None:
    bound = parse_requirement(">= 0.9 * base").bound(0.5)
    assert bound == Bound(">=", 0.45, ">= 0.9 * base")
    assert bound.shortfall(0.45) == bound.shortfall(1.0) == 0.0
    assert bound.shortfall(0.36) == pytest.approx(0.2)


@given(NUMBERS.filter(bool), NUMBERS)
def test_at_most_mirrors_at_least(limit: float, value: float) -> None:
    least, most = Bound(">=", limit), Bound("<=", -limit)
    assert least.shortfall(value) == most.shortfall(-value) >= 0.0


def test_zero_is_missed_by_what_is_missing_and_an_unknown_limit_by_nothing() -> None:
    assert Bound("<=", 0.0).shortfall(0.25) == 0.25
    assert Bound("<=", math.nan).shortfall(0.25) == 0.0
