"""The latent abilities behind answers: exact predictive laws, recovery, and honest intervals."""

import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirt import fit_mirt, fscores

from evomerge.errors import ScoringError
from evomerge.irt.fitting import cloud, fit_traits
from evomerge.irt.local import gains
from evomerge.irt.precision import parameter_errors
from evomerge.irt.traits import Traits, best_items, normal_nodes, with_histogram


def traits_of(
    n_items: int, n_traits: int, seed: int, n_nodes: int = 400, *, guessing: bool = False
) -> Traits:
    rng = np.random.default_rng(seed)
    nodes = normal_nodes(n_nodes, n_traits)
    log_prior = np.full(n_nodes, -np.log(n_nodes))
    slopes = rng.uniform(0.3, 1.5, (n_items, n_traits))
    intercepts = rng.normal(size=n_items)
    floor = rng.uniform(0.0, 0.4, n_items) if guessing else None
    return Traits(slopes, intercepts, nodes, log_prior, floor)


def draw(traits: Traits, n_models: int, rng: np.random.Generator) -> np.ndarray:
    ability = rng.integers(len(traits.nodes), size=n_models)
    return rng.random((n_models, len(traits.slopes))) < traits.right[ability]


def test_with_every_item_seen_the_score_is_exact() -> None:
    traits = traits_of(9, 2, seed=0)
    right = draw(traits, 5, np.random.default_rng(0))
    estimates = traits.estimates(np.ones_like(right), right)
    np.testing.assert_array_equal(estimates.mean, right.mean(axis=1))
    np.testing.assert_array_equal(estimates.se, 0.0)


@pytest.mark.parametrize("guessing", [False, True])
def test_the_predictive_mean_and_error_are_those_of_the_whole_distribution(guessing) -> None:
    """Against the sum over every way to answer five items, two of them seen."""
    traits = traits_of(5, 2, seed=1, n_nodes=50, guessing=guessing)
    seen = np.array([[True, False, True, False, False]])
    right = np.array([[True, False, False, False, False]])
    scores, masses = [], []
    for rest in product([0.0, 1.0], repeat=3):
        answers = np.array([1.0, rest[0], 0.0, rest[1], rest[2]])
        chance = np.where(answers > 0, traits.right, 1.0 - traits.right).prod(axis=1)
        masses.append((np.exp(traits.log_prior) * chance).sum())
        scores.append(answers.mean())
    mean = np.average(scores, weights=masses)
    variance = np.average((np.array(scores) - mean) ** 2, weights=masses)
    estimates = traits.estimates(seen, right)
    assert estimates.mean[0] == pytest.approx(mean, abs=1e-12)
    assert estimates.se[0] == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert traits.log_likelihood(seen, right)[0] == pytest.approx(np.log(sum(masses)), abs=1e-12)


def test_a_lower_asymptote_of_zero_is_none() -> None:
    plain = traits_of(8, 2, seed=9)
    zero = replace(plain, guessing=np.zeros(8))
    right = draw(plain, 5, np.random.default_rng(1))
    seen = np.arange(8)[None] < np.arange(1, 6)[:, None]
    np.testing.assert_allclose(zero.posterior(seen, right), plain.posterior(seen, right))
    np.testing.assert_allclose(gains(zero, seen, right), gains(plain, seen, right), rtol=1e-5)


@pytest.mark.parametrize("guessing", [False, True])
def test_abilities_are_those_of_mirt(guessing) -> None:
    grid = np.linspace(-8.0, 8.0, 321)
    log_prior = -(grid**2) / 2.0 - np.log(np.exp(-(grid**2) / 2.0).sum())
    traits = traits_of(12, 1, seed=10, n_nodes=321, guessing=guessing)
    traits = replace(traits, nodes=grid[:, None], log_prior=log_prior)
    right = draw(traits, 20, np.random.default_rng(1))
    slopes = traits.slopes[:, 0]
    values = {"discrimination": slopes, "difficulty": -traits.intercepts / slopes}
    if traits.guessing is not None:
        values["guessing"] = traits.guessing
    model = fit_mirt(  # with nothing to fit: its way of taking given parameters
        right.astype(int),
        "3PL" if guessing else "2PL",
        start_values=values,
        fixed=dict.fromkeys(values, True),
        compute_standard_errors=False,
    )
    found = fscores(model, right.astype(int), method="EAP", n_quadpts=201)
    weights = traits.posterior(np.ones_like(right), right)
    np.testing.assert_allclose(weights @ traits.nodes[:, 0], found.theta.ravel(), atol=1e-6)


@st.composite
def seen_models(draw_value: st.DrawFn) -> tuple[Traits, np.ndarray, np.ndarray]:
    """Items of any slope and intercept, and a model's answers to some of them."""
    curves = st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(-5.0, 5.0)), min_size=1, max_size=9)
    slopes, intercepts = map(np.array, zip(*draw_value(curves), strict=True))
    flags = st.lists(st.booleans(), min_size=len(slopes), max_size=len(slopes))
    seen, right = (np.array([draw_value(flags)]) for _ in range(2))
    nodes = normal_nodes(200, 1)
    return Traits(slopes[:, None], intercepts, nodes, np.full(200, -np.log(200))), seen, right


@given(seen_models())
def test_an_estimate_is_a_share_of_the_items_with_a_standard_error(model) -> None:
    traits, seen, right = model
    estimates = traits.estimates(seen, right)
    n_items, n_right = seen.size, (seen & right).sum()
    assert n_right / n_items - 1e-12 <= estimates.mean[0]
    assert estimates.mean[0] <= (n_right + n_items - seen.sum()) / n_items + 1e-12
    assert 0.0 <= estimates.se[0] <= 0.5 + 1e-12
    assert traits.posterior(seen, right).sum() == pytest.approx(1.0, abs=1e-12)


@given(seen_models(), st.data())
def test_turning_a_wrong_answer_right_never_lowers_the_estimate(model, pick) -> None:
    traits, seen, right = model
    turned = pick.draw(st.integers(0, seen.size - 1))
    lower, upper = right.copy(), right.copy()
    lower[0, turned], upper[0, turned] = False, True
    means = [traits.estimates(seen, answers).mean[0] for answers in (lower, upper)]
    assert means[0] <= means[1] + 1e-12


def test_a_part_of_the_items_is_a_model_of_its_own() -> None:
    traits, places = traits_of(9, 2, seed=3), np.array([7, 0, 4])
    part = traits.restricted(places)
    right = draw(traits, 4, np.random.default_rng(0))
    seen = np.ones_like(right)
    np.testing.assert_array_equal(part.right, traits.right[:, places])
    np.testing.assert_array_equal(
        part.estimates(seen[:, places], right[:, places]).mean, right[:, places].mean(axis=1)
    )


def test_what_was_computed_does_not_travel_with_the_model() -> None:
    traits = traits_of(50, 2, seed=9)
    before = len(pickle.dumps(traits))
    traits.estimates(np.zeros((1, 50), dtype=bool), np.zeros((1, 50), dtype=bool))
    assert len(pickle.dumps(traits)) == before
    again = pickle.loads(pickle.dumps(traits))  # noqa: S301 - our own, as Ray sends it
    np.testing.assert_array_equal(again.right, traits.right)


def test_intervals_hold_when_the_model_is_true() -> None:
    traits = traits_of(100, 2, seed=4)
    rng = np.random.default_rng(2)
    right = draw(traits, 2000, rng)
    seen = np.zeros_like(right)
    seen[:, rng.permutation(100)[:20]] = True
    estimates = traits.estimates(seen, right)
    held = np.abs(estimates.mean - right.mean(axis=1)) <= 1.96 * estimates.se
    assert held.mean() == pytest.approx(0.95, abs=0.02)


def test_a_fit_predicts_nearly_as_well_as_the_truth() -> None:
    truth = traits_of(60, 2, seed=5)
    rng = np.random.default_rng(3)
    fitted = fit_traits(draw(truth, 200, rng), 2)
    right = draw(truth, 300, rng)
    seen = np.zeros_like(right)
    seen[:, ::3] = True
    scores = right.mean(axis=1)
    errors = [np.abs(t.estimates(seen, right).mean - scores).mean() for t in (fitted, truth)]
    plain = np.abs(right[:, ::3].mean(axis=1) - scores).mean()
    assert errors[0] < 1.08 * errors[1]
    assert errors[0] < plain


def test_fitting_twice_gives_the_same() -> None:
    responses = draw(traits_of(12, 2, seed=6), 30, np.random.default_rng(4))
    one, other = fit_traits(responses, 2), fit_traits(responses, 2)
    np.testing.assert_array_equal(one.slopes, other.slopes)
    np.testing.assert_array_equal(one.log_prior, other.log_prior)


@pytest.mark.parametrize("cloud", [True, False])
def test_two_kinds_of_models_are_found(cloud: bool) -> None:
    """Half of the models know nearly all, half nearly nothing: hardly any in between."""
    rng = np.random.default_rng(5)
    able = np.arange(100) % 2 == 0
    responses = rng.random((100, 40)) < np.where(able, 0.95, 0.05)[:, None]
    fitted = fit_traits(responses, 1)
    nodes = normal_nodes(512, 1)
    normal = replace(fitted, nodes=nodes, log_prior=np.full(512, -np.log(512.0)))
    found = fitted if cloud else with_histogram(normal, responses)
    between = [share_between(traits) for traits in (found, normal)]
    assert between[0] < 0.75 * between[1]


def share_between(traits: Traits) -> float:
    share = traits.right.mean(axis=1)
    return float(np.exp(traits.log_prior)[(share > 0.3) & (share < 0.7)].sum())


def test_nodes_are_around_the_abilities_of_models_and_some_beyond() -> None:
    abilities = np.random.default_rng(6).normal(size=(40, 2)) * (0.2, 1.0) + (3.0, 0.0)
    nodes = cloud(abilities, 1000)
    near = nodes[:900]
    assert nodes.shape == (1000, 2)
    np.testing.assert_allclose(near.mean(axis=0), abilities.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(near.std(axis=0) / abilities.std(axis=0), 1.14, atol=0.1)
    np.testing.assert_allclose(nodes[900:].std(axis=0), 1.5, atol=0.2)
    np.testing.assert_array_equal(nodes, cloud(abilities, 1000))


@pytest.mark.parametrize("value", [True, False])
def test_all_right_and_all_wrong_calibration_and_candidates_are_finite(value: bool) -> None:
    traits = fit_traits(np.full((10, 20), value))
    seen = np.arange(20)[None] < 5
    estimates = traits.estimates(seen, np.full((1, 20), value))
    assert abs(estimates.mean[0] - value) < 0.2
    assert np.isfinite(estimates.se).all()


def test_errors_of_parameters_shrink_with_models() -> None:
    truth = traits_of(15, 1, seed=7)
    responses = draw(truth, 400, np.random.default_rng(6))
    few, many = (
        parameter_errors(fit_traits(part, 1), part) for part in (responses[:40], responses)
    )
    assert few.shape == (15, 2)
    assert (many < few).all()


def test_errors_of_lower_asymptotes_are_the_largest_where_nobody_guesses() -> None:
    """An item that all can do says nothing about its asymptote but what the prior says."""
    traits = replace(traits_of(3, 1, seed=11, guessing=True), intercepts=np.array([-3.0, 0.0, 9.0]))
    errors = parameter_errors(traits, draw(traits, 200, np.random.default_rng(7)))
    assert errors.shape == (3, 3)
    assert errors[0, 2] < errors[1, 2] < errors[2, 2]


def test_barred_and_seen_items_are_never_asked() -> None:
    traits = traits_of(10, 2, seed=8)
    seen = np.zeros((3, 10), dtype=bool)
    seen[:, :4] = True
    chosen = best_items(gains(traits, seen, seen), seen, 4, barred=(5, 6))
    assert {tuple(sorted(row)) for row in chosen.tolist()} == {(4, 7, 8, 9)}


@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0])
def test_responses_that_are_neither_right_nor_wrong_are_refused(value: float) -> None:
    responses = np.ones((4, 3))
    responses[1, 2] = value
    with pytest.raises(ScoringError, match=f"model 1 has {value:g} in column 2 of the responses"):
        fit_traits(responses)
