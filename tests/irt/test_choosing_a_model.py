"""Cross-validation takes the simplest model of answers that does as well as the best."""

import json

import numpy as np
import pytest

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.models import MODELS, models_named
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank, read_trait_bank
from evomerge.irt.traits import logistic
from evomerge.irt.validate import Chosen, choose_estimator

OURS = models_named(["traits-1", "traits-2"])


def answers_of(n_traits: int, seed: int, *, n_models: int = 150, n_items: int = 80) -> np.ndarray:
    """Items of as many kinds as there are traits, each of which only its own trait helps with."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n_items) % n_traits
    ability = 1.5 * rng.normal(size=(n_models, n_traits))[:, kinds]
    chance = logistic(rng.uniform(0.8, 1.6, n_items) * (ability - rng.normal(size=n_items)))
    return (rng.random(chance.shape) < chance).astype(float)


@pytest.fixture(scope="module")
def one() -> Chosen:
    return choose_estimator(answers_of(1, seed=0), OURS, sizes=(20, 40))


def test_one_trait_suffices_where_there_is_one(one: Chosen) -> None:
    assert one.model == "traits-1"
    assert one.estimator.traits.slopes.shape == (80, 1)


def test_two_traits_are_taken_where_they_predict_better() -> None:
    chosen = choose_estimator(answers_of(2, seed=1), OURS, sizes=(20, 40))
    trials = {trial.name: trial for trial in chosen.trials}
    assert chosen.model == "traits-2"
    assert trials["traits-1"].log_likelihood < trials["traits-2"].log_likelihood
    assert trials["traits-1"].excess > trials["traits-1"].excess_se > 0.0


def test_everything_that_was_compared_is_told(one: Chosen) -> None:
    trials = {trial.name: trial for trial in one.trials}
    assert list(trials) == ["mean", "difference", "ridge", "traits-1", "traits-2"]
    assert all(list(trial.errors) == [20, 40] for trial in one.trials)
    assert trials["mean"].errors[20] > trials["mean"].errors[40]
    assert trials["traits-1"].errors[20] < trials["mean"].errors[20]
    assert min(trials[model.name].excess for model in OURS) == 0.0
    assert trials["ridge"].log_likelihood is None
    assert [row.error for row in one.estimator.validation] == list(
        trials["traits-1"].errors.values()
    )


def test_without_sizes_the_likelihood_decides() -> None:
    chosen = choose_estimator(answers_of(1, seed=2, n_items=12), OURS)
    assert chosen.model == "traits-1"
    assert chosen.estimator.validation == ()


def test_models_that_leave_out_fewer_are_compared_on_those() -> None:
    both = models_named(["2pl", "traits-1"])
    chosen = choose_estimator(answers_of(1, seed=3, n_models=40, n_items=40), both, sizes=(20,))
    trials = {trial.name: trial for trial in chosen.trials}
    assert both[0].n_folds < both[1].n_folds
    assert trials["2pl"].excess < 3 * trials["2pl"].excess_se + 1e-9
    assert np.isfinite([trials["2pl"].errors[20], trials["traits-1"].errors[20]]).all()


def test_choosing_twice_gives_the_same_and_tells_of_every_fit() -> None:
    answers, names = answers_of(1, seed=4, n_models=20, n_items=30), []
    banks = [
        fit_trait_bank("t", tuple(range(30)), answers, {}, models=OURS, on_fit=names.append)
        for _ in range(2)
    ]
    assert banks[0].digest == banks[1].digest
    assert names.count("traits-2") in (10, 12)
    assert len(names) == 22


def test_too_few_models_are_refused() -> None:
    with pytest.raises(ScoringError, match="4 models answered, expected at least 5 to cross-val"):
        choose_estimator(answers_of(1, seed=5)[:4], OURS)


@pytest.fixture(scope="module")
def bank() -> TraitBank:
    answers = answers_of(1, seed=6, n_models=30, n_items=30)
    models = (MODELS["3pl"],)
    return fit_trait_bank("arc", tuple(range(30)), answers, {"fingerprint": "abc"}, models=models)


def test_a_bank_with_lower_asymptotes_comes_back_from_its_file(bank: TraitBank, tmp_path) -> None:
    bank.write(tmp_path / "arc.bank.json")
    again = read_trait_bank(tmp_path / "arc.bank.json")
    assert again.digest == bank.digest
    assert again.model == "3pl"
    assert again.trials == bank.trials
    assert again.errors.shape == (30, 3)
    answers = ((3, 20, 7, 9), (1.0, 0.0, 1.0, 1.0))
    assert again.on_task.estimate(*answers) == bank.on_task.estimate(*answers)
    assert [path.name for path in tmp_path.iterdir()] == ["arc.bank.json"]


def test_a_bank_holds_the_whole_comparison(bank: TraitBank) -> None:
    record = json.loads(json.dumps(bank.to_json()))
    assert [row["name"] for row in record["comparison"]] == ["mean", "difference", "ridge", "3pl"]
    assert record["model"] == "3pl"
    assert len(record["guessing"]) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guessing": [0.1]}, "ValueError: slopes of shape"),
        ({"guessing": [float("inf")] * 30}, "a parameter is not finite"),
        ({"errors": [[float("nan")] * 3] * 30}, "an error of a parameter is not finite"),
        ({"comparison": [{"name": "mean"}]}, "KeyError"),
        ({"format": "evomerge item bank 2"}, "its format is 'evomerge item bank 2'"),
    ],
)
def test_a_record_that_is_no_bank_is_refused(bank: TraitBank, change: dict, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        TraitBank.from_json(bank.to_json() | change)
