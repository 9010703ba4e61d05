"""The NSGA-II controller beyond what all controllers do."""

import numpy as np
import pytest

from evomerge.errors import UsageError
from evomerge.search.archive import hypervolume
from evomerge.search.controller import ask_rng
from evomerge.search.nsga2 import NSGA2
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS


def test_the_start_is_a_latin_hypercube() -> None:
    controller = NSGA2(n_dims=7, population=12, seed=4)
    start = np.array([controller.ask(number, ask_rng(4, number)) for number in range(12)])
    strata = np.floor(start * 12)  # (population, n_dims)
    np.testing.assert_array_equal(np.sort(strata, axis=0), np.tile(np.arange(12.0), (7, 1)).T)


def test_another_seed_starts_elsewhere() -> None:
    one, other = (NSGA2(7, 12, seed).ask(0, ask_rng(0, 0)) for seed in (0, 1))
    assert (one != other).any()


def test_a_child_is_never_a_copy_of_its_parents(evaluated) -> None:
    controller = NSGA2(n_dims=3, population=4, seed=0)
    for number in range(8):
        controller.tell(evaluated(number, [0.5, 0.5, 0.5], (0.5, 0.5)))
    children = [controller.ask(number, ask_rng(0, number)) for number in range(8, 108)]
    assert all((child != 0.5).any() for child in children)


def test_the_dominated_leave_no_trace(evaluated) -> None:
    with_losers, without = (NSGA2(n_dims=3, population=4, seed=0) for _ in range(2))
    winners = [evaluated(n, np.full(3, n / 10), (n / 10, 1 - n / 10)) for n in range(4)]
    losers = [evaluated(n, np.full(3, 0.9), (-1.0, -n)) for n in range(4, 9)]
    for outcome in losers + winners:
        with_losers.tell(outcome)
    for outcome in winners:
        without.tell(outcome)
    for number in range(9, 30):
        rngs = [ask_rng(0, number) for _ in range(2)]
        np.testing.assert_array_equal(
            with_losers.ask(number, rngs[0]), without.ask(number, rngs[1])
        )


def test_one_parent_is_too_few() -> None:
    with pytest.raises(UsageError, match="population is 1, expected at least 2 to breed from"):
        NSGA2(n_dims=3, population=1, seed=0)


def test_it_beats_random_search_at_equal_evaluations(evaluated) -> None:
    """Two layered skills in 18 genes, 96 evaluations, tells 8 late; hypervolume above zero."""
    volumes = {
        name: [final_volume(name, seed, evaluated) for seed in range(7)]
        for name in ("nsga2", "random")
    }
    assert np.median(volumes["nsga2"]) > 1.1 * np.median(volumes["random"])
    assert np.median(volumes["nsga2"]) > np.max(volumes["random"])


def final_volume(name: str, seed: int, evaluated) -> float:
    controller, window = CONTROLLERS[name].build(18, 16, seed), Window(8, 96)
    found = {}
    while not window.done:
        for step in window.steps():
            if step.action == "tell":
                controller.tell(found[step.number])
                continue
            genome = controller.ask(step.number, ask_rng(seed, step.number))
            found[step.number] = evaluated(step.number, genome.tolist(), two_skills(genome))
        for number in window.out:
            window.arrive(number)
    return hypervolume([evaluation.means for evaluation in found.values()], (0.0, 0.0))


def two_skills(genome: np.ndarray) -> list[float]:
    """Each skill wants its own nine genes at 0.6 and the other's at 0."""
    own, other = genome[:9], genome[9:]
    losses = (
        ((own - 0.6) ** 2).mean() + 0.3 * (other**2).mean(),
        ((other - 0.6) ** 2).mean() + 0.3 * (own**2).mean(),
    )
    return [float(np.exp(-6.0 * loss)) for loss in losses]
