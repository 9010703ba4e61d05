"""The bank as a value."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.bank import ItemBank

FLOATS = st.floats(-30.0, 30.0)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8))
def test_a_bank_comes_back_from_json_bit_for_bit(
    bank_of, curves: list[tuple[float, float]]
) -> None:
    bank = bank_of(*map(list, zip(*curves, strict=True)))
    again = ItemBank.from_json(json.loads(json.dumps(bank.to_json())))
    assert again == bank
    assert hash(again) == hash(bank)
    assert again.digest == bank.digest


def test_the_digest_tells_banks_apart_by_the_last_bit(bank_of) -> None:
    bank, other = bank_of([1.0], [0.5]), bank_of([1.0], [float(np.nextafter(0.5, 1.0))])
    assert bank.digest != other.digest
    assert len(bank.digest) == 64


def test_curves_are_logistic_and_finite_at_the_extremes(bank_of) -> None:
    curves = bank_of([0.0, 2.0, 100.0, 100.0], [0.5, -1.0, 900.0, -900.0]).curves
    np.testing.assert_allclose(curves.right[:, 0], 1 / (1 + np.exp(-0.5)), rtol=1e-15)
    expected = 1 / (1 + np.exp(1.0 - 2.0 * curves.nodes))
    np.testing.assert_allclose(curves.right[:, 1], expected, rtol=1e-14)
    assert np.isfinite(curves.log_wrong).all()
    assert ((curves.right >= 0.0) & (curves.right <= 1.0)).all()


def test_places_follow_the_order_that_was_asked_for(bank_of) -> None:
    assert bank_of([1.0] * 3, [0.0] * 3).places((20, 0)).tolist() == [2, 0]


def test_items_that_are_not_in_the_bank_are_refused_by_name(bank_of) -> None:
    bank = bank_of([1.0] * 3, [0.0] * 3)
    with pytest.raises(ScoringError, match=r"task made_up was scored on items \[5, 99\], which"):
        bank.places((0, 99, 5))


def test_an_item_that_comes_twice_is_refused(bank_of) -> None:
    with pytest.raises(ScoringError, match="scored on 3 items, of which only 2 differ"):
        bank_of([1.0] * 3, [0.0] * 3).places((0, 10, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discrimination": [1.0]}, r"task made_up has \[2, 1, 2, 2\] items, discriminations"),
        ({"items": [10, 0]}, "not ascending or come twice"),
        ({"items": [0, 0]}, "not ascending or come twice"),
        ({"intercept": [0.0, float("nan")]}, "a parameter that is not finite"),
        ({"ability_sd": 0.0}, "no spread of abilities"),
        ({"flags": ["ok", "odd"]}, r"flags \['odd', 'ok'\], expected some of"),
        ({"intercept": None}, "an item bank cannot be read .TypeError"),
        ({"discrimination": ["steep", 1.0]}, "an item bank cannot be read .ValueError"),
    ],
)
def test_a_record_that_is_no_bank_is_refused(bank_of, change: dict, message: str) -> None:
    record = bank_of([1.0, 2.0], [0.0, 0.5]).to_json() | change
    with pytest.raises(CalibrationError, match=message):
        ItemBank.from_json(record)


def test_a_record_with_a_field_missing_is_refused(bank_of) -> None:
    record = bank_of([1.0], [0.0]).to_json()
    del record["flags"]
    with pytest.raises(CalibrationError, match=r"cannot be read \(KeyError: 'flags'\).*calibrate"):
        ItemBank.from_json(record)
