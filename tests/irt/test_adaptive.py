"""Our estimator: what it asks, when it falls back, and whether its intervals hold."""

import json

import numpy as np
import pytest

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.adaptive import ALARM, Adaptive, Validation, ask, fit_adaptive, flag_items
from evomerge.irt.design import Difference, Mean
from evomerge.irt.rescore import rescored
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank, read_trait_bank
from evomerge.irt.traits import Traits


def simulate(n_models: int, n_items: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    slopes, difficulty = rng.uniform(0.6, 2.0, n_items), rng.normal(size=n_items)
    chance = 1 / (1 + np.exp(-slopes * (rng.normal(size=(n_models, 1)) * 1.3 - difficulty)))
    return rng.random((n_models, n_items)) < chance


RESPONSES = simulate(300, 120, seed=0)
SIZES = (20, 50)


@pytest.fixture(scope="module")
def fitted() -> Adaptive:
    return fit_adaptive(RESPONSES[:60], sizes=SIZES, n_traits=1)


@pytest.fixture(scope="module")
def bank() -> TraitBank:
    return fit_trait_bank("arc", tuple(range(50)), RESPONSES[:30, :50], {"fingerprint": "abc"})


def test_asking_gives_each_model_the_common_items_and_as_many_as_asked_for(fitted) -> None:
    order = np.random.default_rng(0).permutation(120)
    asked = ask(fitted, RESPONSES[60:90], SIZES, order)
    for n, seen in asked.items():
        assert (seen.sum(axis=1) == n).all()
        assert seen[:, order[:10]].all()
    assert (asked[20] <= asked[50]).all()
    assert len(np.unique(asked[20], axis=0)) > 1


def test_it_beats_the_mean_and_its_intervals_hold(fitted) -> None:
    answers, rng = RESPONSES[60:], np.random.default_rng(1)
    truth, errors, plain, held = answers.mean(axis=1), [], [], []
    for _ in range(5):
        order = rng.permutation(120)
        estimates = fitted.estimates(ask(fitted, answers, (20,), order)[20], answers)
        error = np.abs(estimates.mean - truth)
        errors.append(error.mean())
        plain.append(np.abs(answers[:, order[:20]].mean(axis=1) - truth).mean())
        held.append((error <= 1.96 * estimates.se).mean())
    assert np.mean(errors) < 0.9 * np.mean(plain)
    assert 0.9 <= np.mean(held) <= 0.99


def test_the_inflation_is_interpolated_between_the_sizes(fitted) -> None:
    rows = (Validation(20, 0.1, 0.2, 0.2, 1.0, 9.0), Validation(80, 0.1, 0.2, 0.2, 2.0, 9.0))
    factors = Adaptive(fitted.traits, rows).inflation(np.array([5, 20, 40, 80, 500]))
    assert factors == pytest.approx([1.0, 1.0, 1.5, 2.0, 2.0])


def test_where_the_model_does_not_beat_the_mean_the_mean_is_taken(fitted) -> None:
    poor = Adaptive(fitted.traits, (Validation(20, 0.05, 0.04, 0.06, 2.0, 2.0),))
    order = np.random.default_rng(2).permutation(120)
    seen = ask(poor, RESPONSES[60:70], (20,), order)[20]
    assert not poor.trusts_model
    assert seen[:, order[:20]].all()
    found = poor.estimates(seen, RESPONSES[60:70])
    np.testing.assert_allclose(found.mean, RESPONSES[60:70, order[:20]].mean(axis=1))
    np.testing.assert_array_equal(found.se, Mean().estimates(seen, RESPONSES[60:70]).se)
    assert "an error of 0.0500 by its item bank, and of 0.0400 by the mean" in poor.doubt


def test_where_the_difference_estimator_does_best_it_is_taken(fitted) -> None:
    poor = Adaptive(fitted.traits, (Validation(20, 0.05, 0.04, 0.03, 9.0, 2.0),))
    seen = np.zeros((10, 120), dtype=bool)
    seen[:, ::6] = True
    found = poor.estimates(seen, RESPONSES[60:70])
    predictions = fitted.traits.predictions(seen, RESPONSES[60:70])
    expected = Difference(predictions).estimates(seen, RESPONSES[60:70])
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.se, 2.0 * expected.se)
    assert "0.0300 by the difference of random items" in poor.doubt
    assert fitted.doubt == ""


def test_answers_without_any_structure_make_it_fall_back_or_do_no_harm() -> None:
    """Each model a coin of its own for every item: nothing to learn but the number of heads."""
    rng = np.random.default_rng(3)
    coins = rng.random((60, 80)) < rng.uniform(0.2, 0.8, (60, 1))
    estimator = fit_adaptive(coins[:40], sizes=(20,), n_traits=1)
    seen = np.zeros((20, 80), dtype=bool)
    seen[:, :20] = True
    error = np.abs(estimator.estimates(seen, coins[40:]).mean - coins[40:].mean(axis=1)).mean()
    plain = np.abs(coins[40:, :20].mean(axis=1) - coins[40:].mean(axis=1)).mean()
    assert error < 1.15 * plain


def test_a_model_that_does_not_fit_raises_the_alarm(fitted) -> None:
    """A candidate with the items' difficulties turned around."""
    strange = ~RESPONSES[60:61]
    common = np.argsort(RESPONSES.mean(axis=0))[::4]
    seen = np.zeros((1, 120), dtype=bool)
    seen[:, common] = True
    odd = np.where(RESPONSES.mean(axis=0) < 0.5, True, False)[None]
    hard = np.argsort(RESPONSES.mean(axis=0))[:40]
    asked = seen.copy()
    asked[:, hard] = True
    assert abs(fitted.misfit(asked, odd, common)[0]) > abs(fitted.misfit(seen, strange, common)[0])
    fits = [fitted.misfit(seen, answers[None], common)[0] for answers in RESPONSES[60:160]]
    assert np.mean(np.abs(fits) > ALARM) < 0.02


def test_more_items_than_are_left_are_refused(fitted) -> None:
    seen = np.ones((1, 120), dtype=bool)
    seen[0, :3] = False
    with pytest.raises(ScoringError, match="model 0 has 3 items left to be chosen from, expected"):
        fitted.choose(seen, seen, 4, np.arange(120))


def test_too_few_models_are_refused() -> None:
    with pytest.raises(ScoringError, match="4 models answered, expected at least 5 to cross-val"):
        fit_adaptive(RESPONSES[:4])


def test_items_without_variance_and_with_negative_discrimination_are_flagged() -> None:
    responses = RESPONSES[:60].copy()
    responses[:, 3] = True
    responses[:, 7] = responses.sum(axis=1) < np.median(responses.sum(axis=1))
    flags = flag_items(responses)
    assert flags["no_variance"] == (3,)
    assert 7 in flags["negative"]
    estimator = fit_adaptive(responses, sizes=(20,), barred=(3, 7), n_traits=1)
    order = np.array([0, 1, 2, *range(4, 7), *range(8, 120), 3, 7])
    assert not ask(estimator, responses, (100,), order)[100][:, [3, 7]].any()


def test_scores_after_selection_are_unbiased(fitted) -> None:
    """The best of 100 by few items, scored again: no winner's curse, and intervals that hold."""
    rng, errors, held, optimism = np.random.default_rng(4), [], [], []
    for _ in range(60):
        answers = RESPONSES[60 + rng.permutation(240)[:100]]
        seen = np.zeros_like(answers)
        seen[:, rng.permutation(120)[:10]] = True
        first = fitted.estimates(seen, answers).mean
        best = np.argsort(-first)[:3]
        seen, answers = seen[best], answers[best]
        fresh = np.zeros_like(seen)
        for row in range(3):
            fresh[row, rng.permutation(np.flatnonzero(~seen[row]))[:30]] = True
        result = rescored(fitted.traits, seen, fresh, answers)
        error = result.mean - answers.mean(axis=1)
        errors.append(error)
        optimism.append(first[best] - answers.mean(axis=1))
        held.append(np.abs(error) <= 1.96 * result.se)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors) * 3)
    assert 0.9 <= np.mean(held) <= 0.99
    assert abs(np.mean(errors)) < abs(np.mean(optimism))


@pytest.mark.parametrize(
    ("n_fresh", "overlap", "message"),
    [(3, 2, "scored again on 2 items that it had seen"), (1, 0, "on 1 items, expected at least 2")],
)
def test_fresh_items_must_be_fresh_and_some(fitted, n_fresh, overlap, message: str) -> None:
    seen, fresh = np.zeros((1, 120), dtype=bool), np.zeros((1, 120), dtype=bool)
    seen[0, :10] = True
    fresh[0, 10 - overlap : 10 - overlap + n_fresh] = True
    with pytest.raises(ScoringError, match=message):
        rescored(fitted.traits, seen, fresh, RESPONSES[:1])


def test_a_bank_comes_back_from_its_file_and_estimates_the_same(bank, tmp_path) -> None:
    bank.write(tmp_path / "arc.json")
    again = read_trait_bank(tmp_path / "arc.json")
    assert again.digest == bank.digest
    items, values = (3, 40, 7, 9), (1.0, 0.0, 1.0, 1.0)
    assert again.on_task.estimate(items, values) == bank.on_task.estimate(items, values)
    assert isinstance(again.estimator.traits, Traits)


def test_a_bank_says_what_it_was_fitted_to_and_how_well_it_did(bank) -> None:
    record = json.loads(json.dumps(bank.to_json()))
    assert record["n_models"] == 30
    assert record["provenance"] == {"fingerprint": "abc"}
    assert [row["n"] for row in record["validation"]] == [20]
    assert np.shape(record["errors"]) == (50, np.shape(record["slopes"])[1] + 1)


def test_a_bank_of_other_items_is_refused(bank) -> None:
    bank.require("abc")
    with pytest.raises(CalibrationError, match="fitted to items with fingerprint abc, expected xy"):
        bank.require("xyz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "ValueError: its format is 'other'"),
        ({"items": [1, 2]}, "2 items with parameters of shapes"),
        ({"intercepts": [float("nan")] * 50}, "a parameter is not finite"),
        ({"validation": [{"n": 1}]}, "TypeError"),
        ({"slopes": None}, "an item bank cannot be read"),
    ],
)
def test_a_record_that_is_no_trait_bank_is_refused(bank, change: dict, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        TraitBank.from_json(bank.to_json() | change)


def test_a_file_that_is_no_trait_bank_is_refused(tmp_path) -> None:
    (tmp_path / "bank.json").write_text("{")
    with pytest.raises(CalibrationError, match=r"bank.json cannot be read as an item bank"):
        read_trait_bank(tmp_path / "bank.json")


def test_columns_that_are_not_the_bank_items_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"task arc have shape \(60, 120\) for 3 items"):
        fit_trait_bank("arc", (1, 2, 3), RESPONSES[:60], {})
