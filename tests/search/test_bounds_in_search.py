"""Bounds and directions in the search: the feasible first, then who misses by the least."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.problems.static import StaticProblem

from evomerge.records import Candidate, Estimate, Evaluation, Recipe
from evomerge.search.archive import Archive, front, hypervolume
from evomerge.search.controller import Controller, ask_rng
from evomerge.search.nsga2 import NSGA2
from evomerge.search.table import CONTROLLERS

POINTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.0, 0.1, 0.2])),
    max_size=12,
)


@pytest.mark.parametrize("n_objectives", [1, 2])
def test_parents_are_those_that_pymoo_keeps_under_constraints(evaluated, n_objectives: int) -> None:
    data = np.random.default_rng(5)
    controller, expected = NSGA2(n_dims=3, population=6, seed=3), Population()
    problem = Problem(n_var=3, n_obj=n_objectives, n_ieq_constr=1)
    for number in range(300):
        genome, means = data.random(3), data.random(n_objectives)
        violation = max(data.random() - number / 200, 0.0)
        controller.tell(evaluated(number, genome.tolist(), means.tolist(), violation))
        lots = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(number, 0, 1)))
        known = StaticProblem(problem, F=np.array([-means]), G=np.array([[violation]]))
        newcomer = Evaluator().eval(known, Population.new(X=[genome]))
        merged = Population.merge(expected, newcomer)
        expected = RankAndCrowding().do(problem, merged, n_survive=6, random_state=lots)
        parents = controller._parents
        np.testing.assert_array_equal(parents.genomes, expected.get("X"))
        np.testing.assert_array_equal(parents.violations, expected.get("CV")[:, 0])


def test_of_two_parents_the_feasible_breeds_then_the_one_that_misses_by_less(evaluated) -> None:
    controller = NSGA2(n_dims=1, population=3, seed=0)
    for number, (mean, violation) in enumerate([(0.1, 0.0), (0.9, 0.2), (0.8, 0.5)]):
        controller.tell(evaluated(number, [number / 2], [mean], violation))
    standings = [controller._parents.standing(row) for row in range(3)]
    assert controller._parents.genomes[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert standings == sorted(standings)


@pytest.mark.parametrize("name", ["nsga2", "tpe"])
def test_a_controller_moves_to_where_bounds_hold(evaluated, name: str) -> None:
    """The objective is best at gene 1, the bound holds below 0.4."""
    controller: Controller = CONTROLLERS[name].build(2, 8, 0)
    genes = []
    for number in range(60):
        genome = controller.ask(number, ask_rng(0, number))
        violation = max(float(genome[0]) - 0.4, 0.0)
        controller.tell(evaluated(number, genome.tolist(), [float(genome[0])], violation))
        genes.append(float(genome[0]))
    assert np.median(genes[-20:]) < 0.5
    assert max(gene for gene in genes if gene <= 0.4) > 0.3


@given(POINTS)
def test_the_front_is_that_of_the_feasible_or_else_of_the_least_violating(
    points: list[tuple[int, int, float]],
) -> None:
    evaluations = [
        Evaluation(
            Candidate(number, (), Recipe((), {}, seed=number)),
            {"a": Estimate(a, 0.0, 1), "b": Estimate(b, 0.0, 1)},
            violation=violation,
        )
        for number, (a, b, violation) in enumerate(points)
    ]
    archive = Archive()
    for evaluation in evaluations:
        archive.add(evaluation)
    least = min((evaluation.violation for evaluation in evaluations), default=0.0)
    among = [evaluation for evaluation in evaluations if evaluation.violation == least]
    assert list(archive.front) == front(among) == front(evaluations)
    is_feasible = bool(points) and least == 0.0
    assert len(archive) == (len(among and front(among)) if is_feasible else 0)
    volume = hypervolume([e.means for e in front(among)], [-1.0, -1.0]) if is_feasible else 0.0
    assert archive.hypervolume([-1.0, -1.0]) == pytest.approx(volume)


def test_a_minimised_objective_is_signed_for_who_maximises_and_kept_as_it_is() -> None:
    objectives = {"acc": Estimate(0.5, 0.1, 9), "perplexity": Estimate(12.0, 1.0, 9)}
    candidate = Candidate(0, (), Recipe((), {}))
    evaluation = Evaluation(candidate, objectives, minimised=frozenset({"perplexity"}))
    assert evaluation.means == (0.5, -12.0)
    assert evaluation.objectives["perplexity"].mean == 12.0
