"""Steady-state NSGA-II: one offspring at a time, from the best that is known when it is asked for.

Deb et al. (2002), https://doi.org/10.1109/4235.996017, with pymoo's operators and survival. Every
told success joins the parents, then rank and crowding keep the best `population` of them; every ask
breeds one child from two tournaments. No generation is waited for, so late outcomes cost nothing
but their lateness. The first `population` candidates are a Latin hypercube.

Bounds are kept by Deb's constrained domination: the feasible come first, and of the others those
with the smaller violation.

Parents are rows of arrays: handling pymoo's object for each took most of the time of a tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.randomized_argsort import randomized_argsort

from evomerge.errors import UsageError
from evomerge.records import Evaluation, Outcome
from evomerge.search.controller import FloatArray, require_finite
from evomerge.search.start import LatinHypercube

IntArray = NDArray[np.int64]
SORTING = NonDominatedSorting()
CROWDING = get_crowding_function("cd")


@dataclass(frozen=True)
class Parents:
    """Who breeds: `genomes` `(n, n_dims)`, `losses` `(n, n_objectives)`, `ranks` and `crowding`.

    A smaller rank is better, and of equal ranks the larger crowding distance. Rows are in the order
    of their ranks, and those with `violations` `(n,)` above zero come last, ranked by them alone.
    `settled` says that ranks and distances are those among the parents alone; those that a crowded
    last front was chosen by still count who was left out.
    """

    genomes: FloatArray
    losses: FloatArray
    violations: FloatArray
    ranks: IntArray
    crowding: FloatArray
    settled: bool

    def __len__(self) -> int:
        return len(self.genomes)

    def standing(self, index: int) -> tuple[int, float]:
        """What parents are ordered by, the better first."""
        return int(self.ranks[index]), -float(self.crowding[index])

    def all_precede(self, losses: FloatArray, violation: float) -> bool:
        """Whether a newcomer ranks below all of them, as one of the last rank dominates it."""
        worst = float(self.violations[-1])
        if violation > 0.0 or worst > 0.0:
            return violation > worst
        last = self.losses[self.ranks == self.ranks[-1]]
        return bool(((last <= losses).all(axis=1) & (last < losses).any(axis=1)).any())


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
        self._parents: Parents | None = None
        # Bolder than the textbook's (η 15 and 20, half the genes crossed): within about a hundred
        # evaluations there is no time for small steps. Measured in experiments/benchmarks/search.
        self._crossover = SBX(prob=1.0, prob_var=0.9, eta=2.0, n_offsprings=1)
        mutated = min(1.0, 3.0 / n_dims)
        self._mutation = PM(prob=1.0, prob_var=mutated, eta=10.0, at_least_once=True)

    def ask(self, number: int, rng: np.random.Generator) -> FloatArray:
        """A point of the Latin hypercube, then children; `(n_dims,)` in [0, 1]."""
        if number < self._population:
            return self._start.point(number, rng)
        if self._parents is None:
            return rng.random(self._n_dims)
        return self._breed(self._parents, rng)

    def tell(self, outcome: Outcome) -> None:
        """Let a success compete for a place among the parents; a failure leaves them as they are.

        Raises:
            ScoringError: an objective is NaN or infinite.
        """
        if not isinstance(outcome, Evaluation):
            return
        require_finite(outcome)
        genomes = np.array([outcome.candidate.genome])  # (1, n_dims)
        # pymoo minimises: the sign flips here and nowhere else.
        losses = -np.array([outcome.means])  # (1, n_objectives)
        violations = np.array([outcome.violation])  # (1,)
        if self._parents is not None:
            if self._changes_nothing(self._parents, losses, outcome.violation):
                return
            genomes = np.concatenate([self._parents.genomes, genomes])
            losses = np.concatenate([self._parents.losses, losses])
            violations = np.concatenate([self._parents.violations, violations])
        self._parents = self._select(genomes, losses, violations, outcome.candidate.number)

    def _changes_nothing(self, parents: Parents, losses: FloatArray, violation: float) -> bool:
        """Whether selection would give back the same parents: true of a good part of newcomers."""
        is_full = len(parents) == self._population
        return is_full and parents.settled and parents.all_precede(losses, violation)

    def _select(
        self, genomes: FloatArray, losses: FloatArray, violations: FloatArray, number: int
    ) -> Parents:
        """The best of all, front by front; of the last the least crowded, equal ones by lot."""
        n_free, settled = self._population, True
        rows, ranks, distances = [], [], []
        for rank, front in enumerate(_fronts(losses, violations, n_free)):
            crowding = CROWDING.do(losses[front])
            if violations[front[0]] > 0.0:
                crowding = np.zeros(len(front))
            if len(front) > n_free:
                order = randomized_argsort(
                    crowding, order="descending", random_state=self._lots(number)
                )
                front, crowding = front[order[:n_free]], crowding[order[:n_free]]
                settled = False
            rows.append(front)
            ranks.append(np.full(len(front), rank))
            distances.append(crowding)
            n_free -= len(front)
        chosen = np.concatenate(rows)
        return Parents(
            genomes=genomes[chosen],
            losses=losses[chosen],
            violations=violations[chosen],
            ranks=np.concatenate(ranks),
            crowding=np.concatenate(distances),
            settled=settled,
        )

    def _lots(self, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(number, 0, 1)))

    def _breed(self, parents: Parents, rng: np.random.Generator) -> FloatArray:
        pair = [_tournament(parents, rng), _tournament(parents, rng)]
        mates = Population.new(X=parents.genomes[pair])
        child = self._crossover.do(self._problem, mates, np.array([[0, 1]]), random_state=rng)
        child = self._mutation.do(self._problem, child, random_state=rng)
        return np.asarray(child.get("X")[0], dtype=np.float64)


def _fronts(losses: FloatArray, violations: FloatArray, n_wanted: int) -> Iterator[IntArray]:
    """The rows of each rank, the best first, until they are enough."""
    feasible = np.flatnonzero(violations == 0.0)
    if len(feasible):
        for front in SORTING.do(losses[feasible], n_stop_if_ranked=n_wanted):
            yield feasible[front]
            n_wanted -= len(front)
    for violation in np.unique(violations[violations > 0.0]):
        if n_wanted <= 0:
            return
        front = np.flatnonzero(violations == violation)
        yield front
        n_wanted -= len(front)


def _tournament(parents: Parents, rng: np.random.Generator) -> int:
    """The better of two random parents: smaller rank, then larger crowding distance."""
    first, second = rng.integers(len(parents), size=2)
    return int(min(first, second, key=parents.standing))
