"""Ability and p-IRT: equal to mirt's, lawful, and better than the plain mean of few items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirt import fit_mirt, fscores

from evomerge.errors import ScoringError
from evomerge.irt.estimate import ability, p_irt
from evomerge.records import Estimate, TaskScores

CURVES = st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(-5.0, 5.0)), min_size=1, max_size=9)


@st.composite
def seen_models(draw: st.DrawFn) -> tuple[list[float], list[float], TaskScores]:
    """Slopes, intercepts, and a model's answers to some of the items 0, 10, 20 …"""
    slopes, intercepts = map(list, zip(*draw(CURVES), strict=True))
    every_item = st.sampled_from(range(0, 10 * len(slopes), 10))
    items = draw(st.lists(every_item, min_size=1, unique=True))
    values = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(items), max_size=len(items)))
    return slopes, intercepts, TaskScores(tuple(items), tuple(values))


@pytest.mark.parametrize("n_seen", [5, 20, 60])
def test_abilities_are_those_of_mirt(large, n_seen: int) -> None:
    """The same integrals on another grid (201 Gauss-Hermite nodes), to 1e-6."""
    simulation, bank = large
    slopes, intercepts = np.array(bank.discrimination), np.array(bank.intercept)
    model = fit_mirt(  # with nothing to fit: its way of taking given parameters
        simulation.responses,
        start_values={"discrimination": slopes, "difficulty": -intercepts / slopes},
        fixed={"discrimination": True, "difficulty": True},
        compute_standard_errors=False,
    )
    partly = np.where(np.arange(60) < n_seen, simulation.responses, -1)  # -1: not seen
    partly[0, :n_seen], partly[1, :n_seen] = 1, 0
    expected = fscores(model, partly, method="EAP", n_quadpts=201)
    ours = [ability(bank, bank.items[:n_seen], answers[:n_seen]) for answers in partly]
    np.testing.assert_allclose([one.mean for one in ours], expected.theta, atol=1e-6)
    np.testing.assert_allclose([one.sd for one in ours], expected.standard_error, atol=1e-6)


def test_without_answers_the_ability_is_the_prior(bank_of) -> None:
    prior = ability(bank_of([1.0], [0.0]), (), ())
    assert prior.mean == pytest.approx(0.0, abs=1e-12)
    assert prior.sd == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_and_all_wrong_are_finite(bank_of, value: float) -> None:
    bank = bank_of([50.0] * 400, [0.0] * 400)
    extreme = ability(bank, bank.items, [value] * 400)
    assert np.sign(extreme.mean) == 2 * value - 1
    assert 0.0 < abs(extreme.mean) < 6.0
    assert extreme.sd > 0.0


@given(seen_models())
def test_the_posterior_is_a_distribution(bank_of, seen) -> None:
    slopes, intercepts, scores = seen
    posterior = ability(bank_of(slopes, intercepts), scores.items, scores.values)
    assert (posterior.weights >= 0.0).all()
    assert posterior.weights.sum() == pytest.approx(1.0, abs=1e-12)


@given(seen_models())
def test_an_estimate_is_a_share_of_items_with_a_standard_error(bank_of, seen) -> None:
    slopes, intercepts, scores = seen
    estimate = p_irt(bank_of(slopes, intercepts), scores)
    n_items, n_right = len(slopes), sum(scores.values)
    assert 0.0 <= n_right / n_items <= estimate.mean <= 1.0
    assert estimate.mean <= (n_right + n_items - len(scores.items)) / n_items + 1e-12
    assert 0.0 <= estimate.se <= 0.5 + 1e-12
    assert estimate.n == len(scores.items)


@given(seen_models(), st.data())
def test_turning_a_wrong_answer_right_never_lowers_the_estimate(
    bank_of, seen, pick: st.DataObject
) -> None:
    slopes, intercepts, scores = seen
    turned = pick.draw(st.integers(0, len(scores.items) - 1))
    lower, upper = (
        TaskScores(scores.items, (*scores.values[:turned], value, *scores.values[turned + 1 :]))
        for value in (0.0, 1.0)
    )
    bank = bank_of(slopes, intercepts)
    assert p_irt(bank, lower).mean <= p_irt(bank, upper).mean + 1e-12
    assert (
        ability(bank, lower.items, lower.values).mean
        <= ability(bank, upper.items, upper.values).mean + 1e-12
    )


@given(seen_models(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(bank_of, seen, shuffler) -> None:
    slopes, intercepts, scores = seen
    order = list(range(len(scores.items)))
    shuffler.shuffle(order)
    shuffled = TaskScores(
        tuple(scores.items[i] for i in order), tuple(scores.values[i] for i in order)
    )
    bank = bank_of(slopes, intercepts)
    assert p_irt(bank, shuffled) == p_irt(bank, scores)


@given(CURVES, st.data())
def test_with_every_item_seen_the_estimate_is_the_exact_mean(
    bank_of, curves: list[tuple[float, float]], pick: st.DataObject
) -> None:
    bank = bank_of(*map(list, zip(*curves, strict=True)))
    n = len(bank.items)
    values = tuple(pick.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    assert p_irt(bank, TaskScores(bank.items, values)) == Estimate(sum(values) / n, 0.0, n)


def test_the_variance_of_flat_items_is_that_of_coins(bank_of) -> None:
    """Unseen items with P = ½ whatever the ability: mean ½, variance ¼ each."""
    estimate = p_irt(bank_of([0.0] * 5, [0.0] * 5), TaskScores((0,), (1.0,)))
    assert estimate.mean == pytest.approx((1 + 4 * 0.5) / 5)
    assert estimate.se == pytest.approx(np.sqrt(4 * 0.25) / 5)


def test_unseen_items_are_averaged_over_the_posterior(bank_of) -> None:
    """One answer, one unseen item, integrated by brute force on another grid."""
    bank = bank_of([1.5, 0.7], [0.3, -1.0])
    theta = np.linspace(-12.0, 12.0, 100_001)
    density = np.exp(-(theta**2) / 2) / (1 + np.exp(-1.5 * theta - 0.3))
    right = 1 / (1 + np.exp(-0.7 * theta + 1.0))
    expected = np.average(right, weights=density)
    estimate = p_irt(bank, TaskScores((0,), (1.0,)))
    assert estimate.mean == pytest.approx((1 + expected) / 2, abs=1e-8)
    # A sum of Bernoulli variables with one member has variance p (1 − p), whatever p is made of.
    assert estimate.se == pytest.approx(np.sqrt(expected * (1 - expected)) / 2, abs=1e-8)


@pytest.mark.parametrize("value", [0.5, float("nan"), -1.0])
def test_a_value_that_is_neither_right_nor_wrong_is_refused(bank_of, value: float) -> None:
    bank = bank_of([1.0, 1.0], [0.0, 0.0])
    with pytest.raises(ScoringError, match=r"task made_up has values .* expected 0 or 1 for each"):
        p_irt(bank, TaskScores((0, 10), (1.0, value)))


def test_an_item_that_the_bank_does_not_know_is_refused(bank_of) -> None:
    with pytest.raises(ScoringError, match=r"task made_up was scored on items \[7\]"):
        p_irt(bank_of([1.0], [0.0]), TaskScores((0, 7), (1.0, 0.0)))


@pytest.fixture(scope="module")
def trial(zoo, scores_of):
    """Truth, p-IRT estimates and plain means of 300 unseen models on n common random items."""

    def run(n: int) -> tuple[np.ndarray, list[Estimate], np.ndarray]:
        places = np.random.default_rng(n).permutation(100)[:n]
        scores = [scores_of(zoo.bank, answers, places) for answers in zoo.held_out]
        plain = np.array([np.mean(one.values) for one in scores])
        return zoo.held_out.mean(axis=1), [p_irt(zoo.bank, one) for one in scores], plain

    return run


@pytest.mark.parametrize("n", [10, 20, 40])
def test_a_bank_from_forty_models_beats_the_plain_mean_of_the_same_items(trial, n: int) -> None:
    truth, estimates, plain = trial(n)
    errors = np.abs([estimate.mean for estimate in estimates] - truth)
    assert errors.mean() < 0.95 * np.abs(plain - truth).mean()


@pytest.mark.parametrize("n", [10, 20, 40])
def test_intervals_of_95_percent_hold_the_truth_about_that_often(trial, n: int) -> None:
    truth, estimates, _ = trial(n)
    covered = [
        abs(estimate.mean - mean) <= 1.96 * estimate.se
        for estimate, mean in zip(estimates, truth, strict=True)
    ]
    assert 0.90 <= np.mean(covered) <= 0.99


def test_more_items_leave_less_doubt(trial) -> None:
    doubts = [np.mean([estimate.se for estimate in trial(n)[1]]) for n in (5, 10, 20, 40, 80)]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[-1] < doubts[0] / 3
