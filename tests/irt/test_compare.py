"""Selection under uncertainty, as pure functions."""

import math

import numpy as np
import pytest

from evomerge.errors import ScoringError
from evomerge.irt.compare import (
    front_probabilities,
    p_dominates,
    p_greater,
    paired_difference,
    undecided,
)
from evomerge.records import Estimate, TaskScores

ONE = TaskScores((1, 2, 3, 4, 9), (1.0, 1.0, 0.0, 1.0, 1.0))
OTHER = TaskScores((4, 3, 2, 1, 7), (0.0, 0.0, 1.0, 1.0, 1.0))


def test_only_common_items_count_and_their_order_does_not() -> None:
    difference = paired_difference(ONE, OTHER, n_items=100)
    assert difference.mean == 0.25
    assert difference.n == 4


def test_differences_are_antisymmetric() -> None:
    there, back = paired_difference(ONE, OTHER, 100), paired_difference(OTHER, ONE, 100)
    assert (there.mean, there.se) == (-back.mean, back.se)
    assert p_greater(there) + p_greater(back) == pytest.approx(1.0)


def test_equal_answers_to_some_items_do_not_make_candidates_equal_for_certain() -> None:
    same = paired_difference(ONE, ONE, n_items=100)
    assert same.mean == 0.0
    assert same.se > 0.0
    assert p_greater(same) == 0.5


def test_all_items_in_common_leave_no_doubt() -> None:
    assert paired_difference(ONE, ONE, n_items=5).se == 0.0
    better = TaskScores((1, 2), (1.0, 1.0))
    assert p_greater(paired_difference(better, TaskScores((1, 2), (1.0, 0.0)), 2)) == 1.0


def test_pairing_is_sharper_than_two_separate_means() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(60)
    values = [tuple(map(float, easy > cut)) for cut in (0.4, 0.5)]
    one, other = (TaskScores(tuple(range(60)), value) for value in values)
    separate = math.hypot(one.estimate().se, other.estimate().se)
    assert paired_difference(one, other, 10_000).se < 0.6 * separate


def test_no_common_items_are_refused() -> None:
    with pytest.raises(ScoringError, match="scored on 1 and 1 items, none of them common to both"):
        paired_difference(TaskScores((1,), (1.0,)), TaskScores((2,), (1.0,)), 10)


def test_domination_is_the_product_over_objectives() -> None:
    difference = Estimate(1.96, 1.0, 20)
    assert p_greater(difference) == pytest.approx(0.975, abs=1e-3)
    assert p_dominates({"a": difference, "b": difference}) == pytest.approx(0.975**2, abs=2e-3)


def test_a_missing_error_says_nothing() -> None:
    assert p_greater(Estimate(0.3, math.nan, 1)) == 0.5


def test_exact_scores_are_surely_on_the_front_or_off() -> None:
    means = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.4, 0.4], [0.5, 0.5]])
    found = front_probabilities(means, np.zeros_like(means), np.random.default_rng(0))
    assert found.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]
    assert not undecided(found).any()


def test_two_like_candidates_share_a_front_of_one_objective() -> None:
    means = np.array([[0.5], [0.5], [0.1]])
    ses = np.full((3, 1), 0.05)
    found = front_probabilities(means, ses, np.random.default_rng(0), n_draws=4000)
    assert found == pytest.approx([0.5, 0.5, 0.0], abs=0.04)
    assert undecided(found).tolist() == [True, True, False]


def test_the_probability_of_the_best_of_two_is_that_of_their_difference() -> None:
    found = front_probabilities(
        np.array([[0.6], [0.5]]), np.full((2, 1), 0.1), np.random.default_rng(1), n_draws=8000
    )
    assert found[0] == pytest.approx(p_greater(Estimate(0.1, math.hypot(0.1, 0.1), 1)), abs=0.02)


@pytest.mark.parametrize(
    ("means", "ses", "message"),
    [
        ([[0.5], [math.nan]], [[0.1], [0.1]], "candidate 1 has a score or standard error that is"),
        ([[0.5]], [[0.1, 0.2]], r"means of shape \(1, 1\) with standard errors of shape \(1, 2\)"),
    ],
)
def test_candidates_without_a_number_are_refused(means, ses, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        front_probabilities(np.array(means), np.array(ses), np.random.default_rng(0))


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
def test_of_many_exact_scores_those_that_no_other_dominates_are_on_the_front(
    n_objectives: int,
) -> None:
    points = np.random.default_rng(0).integers(0, 9, (150, n_objectives)).astype(float)
    exact = np.zeros_like(points)
    found = front_probabilities(points, exact, np.random.default_rng(0), n_draws=1)
    expected = [
        not any((other >= point).all() and (other > point).any() for other in points)
        for point in points
    ]
    assert found.tolist() == [float(stays) for stays in expected]
