"""Steady-state NSGA-II: one offspring at a time, from the best that is known when it is asked for.

Deb et al. (2002), https://doi.org/10.1109/4235.996017, with pymoo's operators and survival. Every
told success joins the parents, then rank and crowding keep the best `population` of them; every ask
breeds one child from two tournaments. No generation is waited for, so late outcomes cost nothing
but their lateness. The first `population` candidates are a Latin hypercube.
"""

import numpy as np
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from evomerge.errors import UsageError
from evomerge.records import Evaluation, Outcome
from evomerge.search.controller import FloatArray, require_finite
from evomerge.search.start import LatinHypercube


class NSGA2:
    """The controller; `seed` lays out the Latin hypercube and breaks ties among the told.

    Raises:
        UsageError: fewer than two parents.
    """

    def __init__(self, n_dims: int, population: int, seed: int) -> None:
        if population < 2:
            raise UsageError(f"population is {population}, expected at least 2 to breed from")
        self._problem = Problem(n_var=n_dims, n_obj=1, xl=0.0, xu=1.0)
        self._n_dims = n_dims
        self._population = population
        self._seed = seed
        self._start = LatinHypercube(n_dims, population, seed)
        self._parents = Population.new(X=np.empty((0, n_dims)))
        self._survival = RankAndCrowding()
        # Bolder than the textbook's (η 15 and 20, half the genes crossed): within about a hundred
        # evaluations there is no time for small steps. Measured in experiments/benchmarks/search.
        self._crossover = SBX(prob=1.0, prob_var=0.9, eta=2.0, n_offsprings=1)
        mutated = min(1.0, 3.0 / n_dims)
        self._mutation = PM(prob=1.0, prob_var=mutated, eta=10.0, at_least_once=True)

    def ask(self, number: int, rng: np.random.Generator) -> FloatArray:
        """A point of the Latin hypercube, then children; `(n_dims,)` in [0, 1]."""
        if number < self._population:
            return self._start.point(number, rng)
        if len(self._parents) == 0:
            return rng.random(self._n_dims)
        return self._breed(rng)

    def tell(self, outcome: Outcome) -> None:
        """Let a success compete for a place among the parents; a failure leaves them as they are.

        Raises:
            ScoringError: an objective is NaN or infinite.
        """
        if not isinstance(outcome, Evaluation):
            return
        require_finite(outcome)
        # pymoo minimises: the sign flips here and nowhere else.
        newcomer = Population.new(
            X=np.array([outcome.candidate.genome]), F=-np.array([outcome.means])
        )
        merged = Population.merge(self._parents, newcomer)
        self._parents = self._select(merged, outcome.candidate.number)

    def _select(self, merged: Population, number: int) -> Population:
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(number, 0, 1)))
        return self._survival.do(
            self._problem, merged, n_survive=self._population, random_state=rng
        )

    def _breed(self, rng: np.random.Generator) -> FloatArray:
        pair = np.array([[self._tournament(rng), self._tournament(rng)]])
        child = self._crossover.do(self._problem, self._parents, pair, random_state=rng)
        child = self._mutation.do(self._problem, child, random_state=rng)
        return np.asarray(child.get("X")[0], dtype=np.float64)

    def _tournament(self, rng: np.random.Generator) -> int:
        """The better of two random parents: smaller rank, then larger crowding distance."""
        first, second = rng.integers(len(self._parents), size=2)
        return int(min(first, second, key=self._standing))

    def _standing(self, index: int) -> tuple[int, float]:
        parent = self._parents[index]
        return parent.get("rank"), -parent.get("crowding")
