"""What every controller in the table must do."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from evomerge.errors import ScoringError
from evomerge.records import Evaluation
from evomerge.search.controller import Controller, ask_rng
from evomerge.search.ordered import Window
from evomerge.search.table import CONTROLLERS

N_DIMS, POPULATION, BUDGET = 5, 6, 30

Evaluated = Callable[..., Evaluation]

pytestmark = pytest.mark.parametrize("name", list(CONTROLLERS))


def build(name: str, n_dims: int = N_DIMS, seed: int = 3) -> Controller:
    return CONTROLLERS[name].build(n_dims, POPULATION, seed)


def genomes(controller: Controller, numbers: range, seed: int = 3) -> list[list[float]]:
    return [controller.ask(number, ask_rng(seed, number)).tolist() for number in numbers]


def two_peaks(genome: list[float]) -> tuple[float, float]:
    """Two concave objectives with optima at 0.2 and 0.6 of every gene."""
    genes = np.array(genome)
    return tuple(float(np.exp(-4 * np.mean((genes - peak) ** 2))) for peak in (0.2, 0.6))


def told(name: str, evaluated: Evaluated, n: int = 3 * POPULATION) -> Controller:
    controller = build(name)
    for outcome in outcomes(name, evaluated, n):
        controller.tell(outcome)
    return controller


def outcomes(name: str, evaluated: Evaluated, n: int = 3 * POPULATION) -> list[Evaluation]:
    return [
        evaluated(number, genome, two_peaks(genome))
        for number, genome in enumerate(genomes(build(name), range(n)))
    ]


def test_the_table_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    spec = CONTROLLERS[name]
    assert spec.name == name
    assert spec.description
    assert spec.reference.startswith("https://")


@pytest.mark.parametrize("n_dims", [1, 2, 20])
def test_genomes_have_their_length_and_stay_in_the_unit_cube(
    name: str, n_dims: int, evaluated: Evaluated
) -> None:
    controller = build(name, n_dims)
    for number in range(BUDGET):
        genome = controller.ask(number, ask_rng(3, number))
        assert genome.shape == (n_dims,)
        assert genome.dtype == np.float64
        assert ((genome >= 0.0) & (genome <= 1.0)).all()
        controller.tell(evaluated(number, genome.tolist(), two_peaks(genome)))


def test_the_same_past_and_the_same_randomness_give_the_same_genome(
    name: str, evaluated: Evaluated
) -> None:
    one, other = told(name, evaluated), told(name, evaluated)
    assert genomes(one, range(18, 30)) == genomes(other, range(18, 30))


def test_other_randomness_gives_another_genome(name: str, evaluated: Evaluated) -> None:
    controller = told(name, evaluated)
    for number in (0, 20):
        first, again = (controller.ask(number, ask_rng(3, number, attempt)) for attempt in (0, 1))
        assert first.tolist() != again.tolist()


def test_asking_changes_nothing(name: str, evaluated: Evaluated) -> None:
    asked_often, fresh = told(name, evaluated), told(name, evaluated)
    genomes(asked_often, range(40))
    assert genomes(asked_often, range(18, 30)) == genomes(fresh, range(18, 30))


def test_no_global_randomness_is_used_or_disturbed(name: str, evaluated: Evaluated) -> None:
    proposals = []
    for global_seed in (0, 1):
        np.random.seed(global_seed)
        random.seed(global_seed)
        before = (np.random.get_state()[1].tolist(), random.getstate())
        proposals.append(genomes(told(name, evaluated), range(18, 30)))
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    assert proposals[0] == proposals[1]


def test_failures_are_accepted_and_change_no_proposal(
    name: str, evaluated: Evaluated, failed
) -> None:
    disturbed = told(name, evaluated)
    disturbed.tell(failed(18, [0.5] * N_DIMS))
    assert genomes(disturbed, range(19, 30)) == genomes(told(name, evaluated), range(19, 30))


def test_a_search_whose_candidates_all_failed_goes_on(name: str, failed) -> None:
    controller = build(name)
    for number, genome in enumerate(genomes(controller, range(BUDGET))):
        controller.tell(failed(number, genome))
    proposals = genomes(controller, range(BUDGET, 2 * BUDGET))
    assert len({tuple(genome) for genome in proposals}) == BUDGET


def test_a_search_with_one_success_goes_on(name: str, evaluated: Evaluated) -> None:
    controller = build(name)
    controller.tell(evaluated(0, [0.5] * N_DIMS, (0.1, 0.2)))
    proposals = genomes(controller, range(BUDGET, 2 * BUDGET))
    assert len({tuple(genome) for genome in proposals}) == BUDGET


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_and_forgotten(
    name: str, evaluated: Evaluated, value: float
) -> None:
    controller = told(name, evaluated)
    with pytest.raises(ScoringError, match=r"objective task_1 of candidate \w+ is -?(nan|inf)"):
        controller.tell(evaluated(18, [0.5] * N_DIMS, (0.1, value)))
    assert genomes(controller, range(19, 30)) == genomes(told(name, evaluated), range(19, 30))


def test_outcomes_may_come_in_any_order(name: str, evaluated: Evaluated) -> None:
    in_order = outcomes(name, evaluated)
    one, other = build(name), build(name)
    for number in np.random.default_rng(1).permutation(len(in_order)):
        outcome = in_order[number]
        one.tell(outcome)
        other.tell(outcome)
    assert genomes(one, range(18, 30)) == genomes(other, range(18, 30))


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
def test_any_number_of_objectives_will_do(
    name: str, evaluated: Evaluated, n_objectives: int
) -> None:
    controller = build(name)
    for number in range(BUDGET):
        genome = controller.ask(number, ask_rng(0, number)).tolist()
        controller.tell(evaluated(number, genome, genome[:n_objectives]))


def test_candidates_with_equal_scores_do_no_harm(name: str, evaluated: Evaluated) -> None:
    controller = build(name)
    for number in range(BUDGET):
        genome = controller.ask(number, ask_rng(0, number)).tolist()
        controller.tell(evaluated(number, genome, (0.5, 0.5)))
    assert len(set(map(tuple, genomes(controller, range(BUDGET, 2 * BUDGET))))) == BUDGET


@pytest.mark.parametrize("size", [1, 4])
def test_a_replayed_search_goes_on_like_the_original(
    name: str, evaluated: Evaluated, size: int
) -> None:
    original, window, told_so_far = build(name), Window(size, BUDGET), []
    asked: dict[int, list[float]] = {}
    while not window.done:
        for step in window.steps():
            if step.action == "ask":
                replayed = build(name)
                for outcome in told_so_far:
                    replayed.tell(outcome)
                asked[step.number] = genomes(original, range(step.number, step.number + 1))[0]
                assert (
                    replayed.ask(step.number, ask_rng(3, step.number)).tolist()
                    == (asked[step.number])
                )
            else:
                genome = asked[step.number]
                told_so_far.append(evaluated(step.number, genome, two_peaks(genome)))
                original.tell(told_so_far[-1])
        for number in reversed(window.out):
            window.arrive(number)
