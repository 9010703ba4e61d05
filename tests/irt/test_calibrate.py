"""Fitting a bank to simulated models."""

import subprocess
import sys

import numpy as np
import pytest

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.calibrate import fit_bank
from evomerge.irt.estimate import ability


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_the_curves_of_two_hundred_models_are_recovered(large) -> None:
    simulation, bank = large
    slopes, intercepts = np.array(bank.discrimination), np.array(bank.intercept)
    assert correlation(-intercepts / slopes, simulation.difficulties) > 0.9
    assert correlation(slopes, simulation.slopes) > 0.8
    assert np.mean(slopes) == pytest.approx(np.mean(simulation.slopes), rel=0.1)


def test_abilities_are_recovered_and_point_the_way_of_right_answers(large) -> None:
    simulation, bank = large
    means = [ability(bank, bank.items, answers).mean for answers in simulation.responses]
    assert correlation(np.array(means), simulation.abilities) > 0.9
    assert correlation(np.array(means), simulation.responses.mean(axis=1)) > 0.9
    assert min(bank.discrimination) > 0.0


def test_equal_responses_give_an_equal_bank(some_responses: np.ndarray) -> None:
    banks = [fit_bank("task", range(12), some_responses) for _ in range(2)]
    assert banks[0] == banks[1]
    assert banks[0].n_models == 20


def test_items_on_which_all_agree_are_flat_and_do_not_touch_the_others(
    some_responses: np.ndarray,
) -> None:
    agreed = np.column_stack([some_responses, np.ones(20), np.zeros(20)])
    bank, without = fit_bank("task", range(14), agreed), fit_bank("task", range(12), some_responses)
    assert bank.flags[12:] == ("no_variance", "no_variance")
    assert bank.discrimination[12:] == (0.0, 0.0)
    assert bank.intercept[12:] == pytest.approx((np.log(20.5 / 0.5), np.log(0.5 / 20.5)))
    assert bank.discrimination[:12] == without.discrimination
    assert bank.intercept[:12] == without.intercept


def test_an_item_that_the_able_get_wrong_is_flagged_and_nearly_flat(
    some_responses: np.ndarray,
) -> None:
    able = some_responses.sum(axis=1) > np.median(some_responses.sum(axis=1))
    bank = fit_bank("task", range(13), np.column_stack([some_responses, ~able]))
    assert bank.flags[12] == "weak"
    assert 0.0 < bank.discrimination[12] <= min(bank.discrimination)
    assert bank.flags.count("ok") >= 10


@pytest.fixture(scope="module")
def some_responses() -> np.ndarray:
    """20 models on 12 items, every item with variance."""
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(20, 1)) * 1.5 - rng.uniform(-1.0, 1.0, size=12)
    responses = (rng.random((20, 12)) < 1 / (1 + np.exp(-logits))).astype(int)
    assert (responses.min(axis=0) < responses.max(axis=0)).all()
    return responses


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0, -1.0])
def test_a_response_that_is_neither_right_nor_wrong_is_refused(
    some_responses: np.ndarray, value: float
) -> None:
    responses = some_responses.astype(float)
    responses[7, 3] = value
    with pytest.raises(
        CalibrationError, match=rf"model 7 has {value:g} on item 30 of task arc, expected 0 or 1"
    ):
        fit_bank("arc", range(0, 120, 10), responses)


def test_too_few_models_are_refused(some_responses: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="answered by 7 models, expected at least 8; calib"):
        fit_bank("arc", range(12), some_responses[:7])


def test_too_few_items_with_variance_are_refused(some_responses: np.ndarray) -> None:
    responses = np.ones((20, 12))
    responses[:, :2] = some_responses[:, :2]
    with pytest.raises(CalibrationError, match="2 items on which the 20 models differ, expected"):
        fit_bank("arc", range(12), responses)


def test_columns_that_are_not_the_items_are_refused(some_responses: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match=r"shape \(20, 12\), expected \(n_models, 13\)"):
        fit_bank("arc", range(13), some_responses)


@pytest.mark.parametrize("items", [(0, 1, 1), (0, 2, 1)])
def test_items_that_come_twice_or_out_of_order_are_refused(
    some_responses: np.ndarray, items: tuple[int, ...]
) -> None:
    with pytest.raises(CalibrationError, match="3 items of task arc come twice or out of order"):
        fit_bank("arc", items, some_responses[:, :3])


def test_a_calibration_error_is_a_scoring_error_with_its_exit_code() -> None:
    assert issubclass(CalibrationError, ScoringError)
    assert CalibrationError.exit_code == 4


def test_scoring_with_a_bank_needs_no_mirt() -> None:
    program = (
        "import sys, evomerge.irt.calibrate, evomerge.irt.estimate\n"
        "assert not {'mirt', 'scipy', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
