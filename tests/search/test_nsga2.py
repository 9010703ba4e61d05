"""The NSGA-II controller beyond what all controllers do."""

import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from evomerge.errors import UsageError
from evomerge.search.controller import ask_rng
from evomerge.search.nsga2 import NSGA2


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


@pytest.mark.parametrize(("n_objectives", "levels"), [(1, 50), (2, 8), (3, 4), (3, 1000)])
def test_parents_are_those_that_pymoo_keeps_one_newcomer_at_a_time(
    evaluated, n_objectives: int, levels: int
) -> None:
    """Many equal scores and few; ours skips newcomers that change nothing, pymoo's does not."""
    data = np.random.default_rng(levels)
    controller, expected = NSGA2(n_dims=4, population=7, seed=3), Population()
    for number in range(300):
        genome = data.random(4)
        means = np.floor(data.random(n_objectives) * levels) / levels + number // 100
        controller.tell(evaluated(number, genome.tolist(), means.tolist()))
        lots = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(number, 0, 1)))
        expected = RankAndCrowding().do(
            Problem(n_var=4, n_obj=n_objectives),
            Population.merge(expected, Population.new(X=[genome], F=[-means])),
            n_survive=7,
            random_state=lots,
        )
        parents = controller._parents
        np.testing.assert_array_equal(parents.genomes, expected.get("X"))
        np.testing.assert_array_equal(parents.ranks, expected.get("rank"))
        np.testing.assert_array_equal(parents.crowding, expected.get("crowding"))


def test_one_parent_is_too_few() -> None:
    with pytest.raises(UsageError, match="population is 1, expected at least 2 to breed from"):
        NSGA2(n_dims=3, population=1, seed=0)
