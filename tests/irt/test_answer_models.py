"""Models of answers: known parameters are found again, whatever fits them."""

import subprocess
import sys

import numpy as np
import pytest

from evomerge.errors import UsageError
from evomerge.irt.models import DEFAULT_MODELS, MODELS, models_named
from evomerge.irt.traits import Traits, logistic


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


class Truth:
    """300 models on 40 items of known parameters."""

    def __init__(self, n_models: int, n_items: int, seed: int, *, guessing: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.slopes = np.exp(rng.normal(0.2, 0.4, n_items))
        self.difficulties = rng.uniform(-1.5, 1.5, n_items)
        self.guessing = rng.uniform(0.0, 2.0 * guessing, n_items)
        ability = rng.normal(size=(n_models, 1))
        curve = logistic(self.slopes * (ability - self.difficulties))
        chance = self.guessing + (1.0 - self.guessing) * curve
        self.chance = chance
        self.answers = (rng.random(chance.shape) < chance).astype(float)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(300, 30, seed=0)


@pytest.mark.parametrize("name", ["2pl", "traits-1"])
def test_slopes_and_difficulties_of_two_parameters_are_found(truth: Truth, name: str) -> None:
    fitted = MODELS[name].fit(truth.answers)
    slopes = fitted.slopes[:, 0]
    assert fitted.guessing is None
    assert correlation(slopes, truth.slopes) > 0.75
    assert correlation(-fitted.intercepts / slopes, truth.difficulties) > 0.97
    assert np.mean(slopes) == pytest.approx(np.mean(truth.slopes), rel=0.12)


@pytest.mark.slow
def test_lower_asymptotes_are_found() -> None:
    truth = Truth(1500, 30, seed=1, guessing=0.25)
    fitted = MODELS["3pl"].fit(truth.answers)
    assert fitted.guessing is not None
    hard = truth.difficulties > 0.0  # elsewhere few models guess
    assert correlation(fitted.guessing[hard], truth.guessing[hard]) > 0.7
    assert np.abs(fitted.guessing - truth.guessing)[hard].mean() < 0.1  # the prior's mode is 1/8
    assert correlation(fitted.slopes[:, 0], truth.slopes) > 0.7


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("mirt")])
def test_every_model_predicts_held_out_models_better_than_shares(truth: Truth, name: str) -> None:
    fitted = MODELS[name].fit(truth.answers[:200])
    held_out = truth.answers[200:] > 0.5
    seen = np.tile(np.arange(30) % 2 == 0, (100, 1))
    error = np.abs(fitted.predictions(seen, held_out) - truth.chance[200:])[~seen].mean()
    plain = np.abs(truth.answers[:200].mean(axis=0) - truth.chance[200:])[~seen].mean()
    assert error < 0.75 * plain


@pytest.mark.slow
@pytest.mark.parametrize("n_factors", [2, 3])
def test_factors_of_mirt_tell_two_kinds_of_items_apart(n_factors: int) -> None:
    rng = np.random.default_rng(2)
    kinds = np.arange(20) % 2
    chance = logistic(1.5 * rng.normal(size=(200, 2))[:, kinds])
    answers = (rng.random(chance.shape) < chance).astype(float)
    slopes = MODELS[f"mirt-{n_factors}"].fit(answers).slopes
    likeness = slopes @ slopes.T / np.outer(*[np.linalg.norm(slopes, axis=1)] * 2)
    same = kinds[:, None] == kinds
    assert likeness[same].mean() > likeness[~same].mean() + 0.4


@pytest.mark.parametrize("name", ["2pl", "3pl"])
def test_items_on_which_all_agree_are_flat_and_do_not_touch_the_others(name: str) -> None:
    answers = Truth(20, 6, seed=3).answers
    assert (answers.min(axis=0) < answers.max(axis=0)).all()
    agreed = np.column_stack([answers, np.ones(20), np.zeros(20)])
    with_them, without = MODELS[name].fit(agreed), MODELS[name].fit(answers)
    assert with_them.slopes[6:].tolist() == [[0.0], [0.0]]
    assert with_them.intercepts[6:] == pytest.approx((np.log(20.5 / 0.5), np.log(0.5 / 20.5)))
    np.testing.assert_array_equal(with_them.slopes[:6], without.slopes)
    np.testing.assert_array_equal(with_them.intercepts[:6], without.intercepts)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_models_that_agree_on_everything_are_no_trouble(name: str, value: float) -> None:
    fitted = MODELS[name].fit(np.full((6, 5), value))
    assert isinstance(fitted, Traits)
    assert np.isfinite(fitted.intercepts).all()
    assert np.abs(fitted.shares - value).max() < 0.2


def test_an_item_that_the_able_get_wrong_comes_out_flat() -> None:
    answers = Truth(60, 20, seed=4).answers
    able = answers.sum(axis=1) > np.median(answers.sum(axis=1))
    slopes = MODELS["2pl"].fit(np.column_stack([answers, ~able])).slopes[:, 0]
    assert 0.0 < slopes[20] < 1.5 * slopes[:20].min()


def test_models_come_the_simpler_first() -> None:
    chosen = models_named(DEFAULT_MODELS[::-1])
    assert tuple(model.name for model in chosen) == DEFAULT_MODELS
    sizes = [model.n_parameters for model in MODELS.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["4pl", "2pl"], "found no model '4pl' to choose from, expected some of 2pl"), ([], "no mod")],
)
def test_a_name_without_a_model_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models_named(names)


def test_estimating_needs_no_mirt() -> None:
    program = (
        "import sys, evomerge.irt.models, evomerge.irt.trait_bank, evomerge.irt.responses\n"
        "assert not {'mirt', 'scipy', 'torch', 'pyarrow', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
