"""What there is to be seen of a bank: the line of abilities, information, and the worst items."""

from dataclasses import replace

import numpy as np
import pytest

from evomerge.irt.summary import N_POINTS, BankSummary, places_of_curves, summary_of
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank
from evomerge.irt.traits import Traits, logistic, normal_nodes


@pytest.fixture(scope="module")
def bank() -> TraitBank:
    """24 items, of which the last three are wrong for the able, right for all, and a coin."""
    rng = np.random.default_rng(0)
    ability = rng.normal(size=(120, 1))
    chance = logistic(1.5 * (ability - np.linspace(-1.5, 1.5, 21)))
    answers = rng.random(chance.shape) < chance
    others = [~(ability > 0.3), np.ones((120, 1), dtype=bool), rng.random((120, 1)) < 0.5]
    matrix = np.column_stack([answers, *others]).astype(float)
    return fit_trait_bank("arc", tuple(range(0, 48, 2)), matrix, {})


@pytest.fixture(scope="module")
def summary(bank: TraitBank) -> BankSummary:
    return summary_of(bank)


def test_flagged_items_are_the_worst_and_then_those_that_tell_least(summary: BankSummary) -> None:
    worst = [summary.items[place] for place in summary.worst(24)]
    assert worst[0].item == 42
    flags = [item.flag for item in worst]
    assert flags == sorted(flags, key=["negative", "no_variance", "ok"].index)
    fine = [i.information for i in (summary.items[p] for p in summary.worst(24)) if i.flag == "ok"]
    assert fine == sorted(fine)
    assert [item.flag for item in summary.items].count("no_variance") == 1


def test_the_best_items_tell_most_and_none_is_flagged(summary: BankSummary) -> None:
    best = [summary.items[place] for place in summary.best(5)]
    assert all(item.flag == "ok" for item in best)
    fine = sorted(i.information for i in summary.items if i.flag == "ok")
    assert min(i.information for i in best) == fine[-5]
    chosen = places_of_curves(summary, 3)
    assert list(chosen) == ["best", "typical", "worst"]
    assert not set(chosen["best"]) & {*chosen["typical"], *chosen["worst"]}


def test_difficulties_are_in_the_order_of_the_items(summary: BankSummary) -> None:
    difficulties = [item.difficulty for item in summary.items[:21]]
    assert np.corrcoef(difficulties, np.arange(21))[0, 1] > 0.95
    assert all(item.slope_se > 0.0 for item in summary.items)


@pytest.mark.parametrize("guessing", [None, 0.2])
def test_information_is_the_curvature_of_the_expected_log_likelihood(bank, guessing) -> None:
    """By differences: I(t) = −Σ P(t) ∂² log P(s) + (1 − P(t)) ∂² log(1 − P(s)) at s = t."""
    nodes = normal_nodes(50, 1)
    floor = None if guessing is None else np.array([guessing, 0.0])
    traits = Traits(
        np.array([[1.3], [0.7]]), np.array([0.4, -1.0]), nodes, np.full(50, -3.9), floor
    )
    estimator = replace(bank.estimator, traits=traits)
    small = replace(bank, items=(0, 1), estimator=estimator, errors=np.ones((2, 2)), flags={})
    found = summary_of(small)
    assert found.information.shape == (N_POINTS,)

    def expected(true: float, at: float) -> float:
        p, q = traits.chance(np.array([[true]])), traits.chance(np.array([[at]]))
        return float((p * np.log(q) + (1 - p) * np.log(1 - q)).sum())

    step = 1e-3
    for point in (10, 40, 70):
        t = float(found.abilities[point])
        second = (expected(t, t + step) - 2 * expected(t, t) + expected(t, t - step)) / step**2
        assert found.information[point] == pytest.approx(-second, rel=1e-4)


def test_abilities_add_up(summary: BankSummary) -> None:
    assert summary.ability_shares.sum() == pytest.approx(1.0)
    assert abs(summary.ability_mean) < 0.5
    assert 0.5 < summary.ability_sd < 2.0
