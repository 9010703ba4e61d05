"""The published figures follow from the item results."""

import math

import pytest

from experiments.zoo.table import SKILLS, accuracy, mean_of_skills, paired_difference


def test_accuracy_comes_with_the_standard_error_of_a_proportion() -> None:
    mean, error = accuracy([1, 1, 0, 1, 0])
    assert mean == pytest.approx(0.6)
    assert error == pytest.approx(math.sqrt(0.6 * 0.4 / 4))


def test_the_error_of_a_mean_of_equal_skills_halves_with_four_of_them() -> None:
    items = [1, 0] * 50
    mean, error = mean_of_skills(dict.fromkeys(SKILLS, items))
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(accuracy(items)[1] / 2)


def test_a_model_paired_with_itself_differs_by_exactly_nothing() -> None:
    results = {key: [1, 0, 0, 1] for key in SKILLS}
    assert paired_difference(results, results) == (0.0, 0.0)


def test_pairing_removes_the_variance_that_two_models_share() -> None:
    worse = dict.fromkeys(SKILLS, [0, 0, 1, 1] * 25)
    better = dict.fromkeys(SKILLS, [0, 1, 1, 1] + [0, 0, 1, 1] * 24)
    mean, error = paired_difference(better, worse)
    assert mean == pytest.approx(0.01)
    assert error < mean_of_skills(worse)[1] / 4
