"""What items can tell before a run is what they tell after it."""

import math

import numpy as np
import pytest

from evomerge.records import Estimate
from evomerge.run.resolution import (
    Z,
    binomial_se,
    disagreement,
    probable_mean,
    resolution,
)


@pytest.mark.parametrize("n_right", [0, 7, 60, 120])
def test_the_standard_error_is_the_one_that_answers_will_have(n_right: int) -> None:
    answers = [1.0] * n_right + [0.0] * (120 - n_right)
    assert binomial_se(n_right / 120, 120) == pytest.approx(Estimate.of(answers).se)


def test_half_right_is_the_worst_case() -> None:
    found = resolution(120, 120, [0.1, 0.9, 0.3], 0.2)
    assert found.worst_se == pytest.approx(0.5 / math.sqrt(119))
    assert found.se[0] < found.se[1] < found.worst_se


def test_all_items_of_a_task_leave_no_error_about_the_task() -> None:
    assert resolution(120, 120, [0.5], 0.2).of_task_se == 0.0
    part, whole = resolution(120, 400, [0.5], 0.2), resolution(120, 10**9, [0.5], 0.2)
    assert part.of_task_se == pytest.approx(part.se[1] * math.sqrt(280 / 399))
    assert whole.of_task_se == pytest.approx(whole.se[1])


def test_a_few_right_answers_do_not_make_a_model_perfect() -> None:
    assert 0 < probable_mean([1.0] * 4) < 1
    assert resolution(120, 400, [probable_mean([1.0] * 4)], 0.1).se[0] > 0


def test_a_paired_difference_of_the_stated_size_shows_in_half_of_all_cases() -> None:
    rng = np.random.default_rng(0)
    n, share = 120, 0.3
    size = resolution(n, n, [0.5], share).paired
    shown = [_shows(rng, n, share, size) for _ in range(2000)]
    assert np.mean(shown) == pytest.approx(0.5, abs=0.06)


def test_a_difference_1_43_times_as_large_shows_in_80_percent() -> None:
    rng = np.random.default_rng(1)
    n, share = 120, 0.3
    size = 1.43 * resolution(n, n, [0.5], share).paired
    shown = [_shows(rng, n, share, size) for _ in range(2000)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.06)


def _shows(rng: np.random.Generator, n: int, share: float, size: float) -> bool:
    """Whether a sample of n paired differences, +1, 0 or −1, is unlike zero at the 5 % level."""
    chances = [(share + size) / 2, 1 - share, (share - size) / 2]
    differences = rng.choice([1.0, 0.0, -1.0], p=chances, size=n)
    estimate = Estimate.of(differences.tolist())
    return abs(estimate.mean) > Z * estimate.se


def test_nothing_below_six_items_shows_however_alike_two_candidates_are() -> None:
    assert resolution(100, 100, [0.5], 0.0).paired == pytest.approx(0.06)


def test_disagreement_is_the_share_of_items_with_other_answers() -> None:
    assert disagreement([[1, 1, 0, 0], [1, 0, 0, 1]]) == 0.5
    assert disagreement([[1, 1], [1, 1], [0, 1]]) == pytest.approx(1 / 3)
