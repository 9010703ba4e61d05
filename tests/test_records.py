"""The nouns: what they become in JSON."""

import json
import math
import statistics

import pytest

from evomerge.records import Estimate, TaskScores


def test_a_standard_error_that_nobody_knows_is_null_in_json() -> None:
    alone = Estimate.of([1.0])
    assert math.isnan(alone.se)
    assert json.loads(json.dumps(alone.to_json(), allow_nan=False)) == {
        "mean": 1.0,
        "se": None,
        "n": 1,
    }


@pytest.mark.parametrize("n_right", [0, 1, 7, 19, 20])
def test_an_estimate_of_right_and_wrong_is_that_of_any_numbers(n_right: int) -> None:
    values = [1.0] * n_right + [0.0] * (20 - n_right)
    estimate = Estimate.of(values)
    assert estimate.mean == statistics.fmean(values)
    assert estimate.se == pytest.approx(statistics.stdev(values) / math.sqrt(20), rel=1e-12)


def test_results_of_some_items_keep_their_order_and_weights() -> None:
    scores = TaskScores((4, 1, 3), (0.4, 0.1, 0.3), (40.0, 10.0, 30.0))
    assert scores.of({1, 4, 7}) == TaskScores((4, 1), (0.4, 0.1), (40.0, 10.0))
    assert TaskScores((4, 1), (0.4, 0.1)).of([1]) == TaskScores((1,), (0.1,))
