"""Simulated models with known abilities on items with known curves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from evomerge.irt.bank import ItemBank
from evomerge.irt.calibrate import fit_bank
from evomerge.records import TaskScores


@dataclass(frozen=True)
class Simulation:
    """`responses`: `(n_models, n_items)` of 0 and 1; slopes a, difficulties b and abilities θ."""

    slopes: np.ndarray
    difficulties: np.ndarray
    abilities: np.ndarray
    responses: np.ndarray


def simulate(n_models: int, n_items: int, seed: int) -> Simulation:
    rng = np.random.default_rng(seed)
    slopes = np.exp(rng.normal(0.0, 0.4, n_items))
    difficulties = rng.normal(0.0, 1.2, n_items)
    abilities = rng.normal(size=n_models)
    chance = 1.0 / (1.0 + np.exp(-slopes * (abilities[:, None] - difficulties)))
    responses = (rng.random(chance.shape) < chance).astype(int)
    return Simulation(slopes, difficulties, abilities, responses)


@dataclass(frozen=True)
class Zoo:
    """A bank fitted on 40 models, and the answers of 300 others to all its items."""

    bank: ItemBank
    held_out: np.ndarray


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """As in a search: 40 calibration models, 100 items numbered 0, 3, 6 …"""
    responses = simulate(340, 100, seed=4).responses
    return Zoo(fit_bank("zoo", range(0, 300, 3), responses[:40]), responses[40:])


@pytest.fixture(scope="session")
def large() -> tuple[Simulation, ItemBank]:
    """200 models on 60 items, and the bank fitted on them."""
    simulation = simulate(200, 60, seed=5)
    return simulation, fit_bank("large", range(60), simulation.responses)


@pytest.fixture(scope="session")
def bank_of() -> Callable[..., ItemBank]:
    """Makes a bank with given curves; its items are 0, 10, 20 …"""

    def make(slopes: list[float], intercepts: list[float]) -> ItemBank:
        items = tuple(range(0, 10 * len(slopes), 10))
        flags = ("ok",) * len(slopes)
        return ItemBank("made_up", items, tuple(slopes), tuple(intercepts), flags, n_models=40)

    return make


@pytest.fixture(scope="session")
def scores_of() -> Callable[..., TaskScores]:
    """Makes the scores of a model seen at some places of a bank, from its answers everywhere."""

    def make(bank: ItemBank, answers: np.ndarray, places: np.ndarray) -> TaskScores:
        items = tuple(bank.items[place] for place in places)
        return TaskScores(items, tuple(float(answers[place]) for place in places))

    return make
