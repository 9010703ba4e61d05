"""Weight rules: what they give, and that a `linear` recipe takes it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import UsageError
from evomerge.merge.rules import (
    RULES,
    cocktail_weights,
    exponential_moving_average,
    metric_weights,
    simple_moving_average,
    weighted_moving_average,
)
from evomerge.run.listings import method_rows
from tests.merge.single import merge_arrays

COUNTS = st.integers(1, 30)
METRICS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)
LOSSES = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8)


def assert_shares(weights):
    assert min(weights) >= 0.0
    assert math.fsum(weights) == pytest.approx(1.0, rel=1e-12)


@given(METRICS, st.floats(-50.0, 50.0))
def test_metrics_weigh_by_their_power(metrics, power):
    weights = metric_weights(metrics, power=power)
    assert_shares(weights)
    logs = power * np.log(metrics)
    assert np.allclose(weights, np.exp(logs - np.logaddexp.reduce(logs)), rtol=1e-9, atol=1e-300)


def test_a_power_of_zero_is_the_plain_average_and_a_negative_one_is_for_losses():
    assert metric_weights((0.2, 0.9), power=0.0) == (0.5, 0.5)
    assert metric_weights((3.0, 1.0)) == pytest.approx((0.75, 0.25))
    assert metric_weights((3.0, 1.0), power=-1.0) == pytest.approx((0.25, 0.75))


@given(LOSSES, st.floats(0.01, 100.0), st.floats(-100.0, 100.0))
def test_cocktail_is_a_softmax_that_knows_only_differences_of_losses(losses, temperature, shift):
    weights = cocktail_weights(losses, temperature=temperature)
    assert_shares(weights)
    assert weights[int(np.argmin(losses))] == max(weights)
    shifted = cocktail_weights([loss + shift for loss in losses], temperature=temperature)
    assert np.allclose(weights, shifted, atol=1e-6)


def test_cocktail_at_its_default_temperature():
    # e^(−1/5) against e^(−2/5)
    assert cocktail_weights((1.0, 2.0)) == pytest.approx((0.549834, 0.450166), abs=1e-6)


@given(COUNTS, st.floats(0.0, 1.0))
def test_moving_averages_are_shares(n, alpha):
    assert simple_moving_average(n) == pytest.approx((1.0 / n,) * n)
    assert_shares(weighted_moving_average(n))
    assert_shares(exponential_moving_average(n, alpha=alpha))


@given(COUNTS, st.floats(0.0, 1.0))
def test_the_exponential_average_is_the_running_one(n, alpha):
    checkpoints = np.random.default_rng(n).normal(size=n)
    running = checkpoints[0]
    for checkpoint in checkpoints[1:]:
        running = alpha * checkpoint + (1.0 - alpha) * running
    weights = exponential_moving_average(n, alpha=alpha)
    assert np.dot(weights, checkpoints) == pytest.approx(running, abs=1e-12)


def test_later_checkpoints_weigh_more_by_equal_steps():
    assert weighted_moving_average(4) == pytest.approx((0.1, 0.2, 0.3, 0.4))


def test_linear_merges_with_the_weights_of_a_rule():
    weights = weighted_moving_average(3)
    experts = [torch.full((2, 3), value) for value in (1.0, 2.0, 4.0)]
    merged = merge_arrays("linear", torch.zeros(2, 3), experts, coefficient=weights)
    assert torch.allclose(merged, torch.full((2, 3), (1.0 + 2.0 * 2.0 + 3.0 * 4.0) / 6.0))


def test_the_listing_calls_each_rule_by_its_name():
    for rule in RULES.values():
        assert rule.call.startswith(f"{rule.weights.__name__}(")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metric_weights(()), "expected one finite number for each model"),
        (lambda: metric_weights((0.5, 0.0)), "expected positive numbers"),
        (lambda: cocktail_weights((1.0, math.nan)), "expected one finite number for each model"),
        (lambda: cocktail_weights((1.0,), temperature=0.0), "temperature is 0.0, expected a pos"),
        (lambda: simple_moving_average(0), "the average is of 0 checkpoints, expected 1 or more"),
        (lambda: weighted_moving_average(0), "the average is of 0 checkpoints"),
        (lambda: exponential_moving_average(0), "the average is of 0 checkpoints"),
        (lambda: exponential_moving_average(2, alpha=1.5), "alpha is 1.5, expected a fraction"),
    ],
)
def test_numbers_that_give_no_weights_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_evomerge_methods_lists_the_rules_beside_the_methods():
    listed = {row["name"] for row in method_rows() if row["kind"] == "weight rule"}
    assert listed == set(RULES)
