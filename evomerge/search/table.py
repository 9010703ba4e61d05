"""The controllers there are, by name: the table that `evomerge controllers` prints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evomerge.search.controller import Controller
from evomerge.search.nsga2 import NSGA2
from evomerge.search.random_search import RandomSearch


@dataclass(frozen=True)
class ControllerSpec:
    """One controller: its name, how to build it, what it does, and where it was published.

    `build(n_dims, population, seed)` makes a controller that has been told nothing.
    """

    name: str
    build: Callable[[int, int, int], Controller]
    description: str
    reference: str


def _tpe(n_dims: int, population: int, seed: int) -> Controller:
    # Not at module top: a search that does not use Optuna does not load it.
    from evomerge.search.tpe import TPE

    return TPE(n_dims, population, seed)


NSGA2_SPEC = ControllerSpec(
    name="nsga2",
    build=NSGA2,
    description="steady-state NSGA-II: Latin hypercube, then offspring of the best by rank and "
    "crowding",
    reference="https://doi.org/10.1109/4235.996017",
)
TPE_SPEC = ControllerSpec(
    name="tpe",
    build=_tpe,
    description="Optuna's TPE: Latin hypercube, then genes likelier among the best than the rest",
    reference="https://doi.org/10.1613/jair.1.13188",
)
RANDOM_SPEC = ControllerSpec(
    name="random",
    build=lambda n_dims, population, seed: RandomSearch(n_dims),
    description="uniform random search, the baseline",
    reference="https://jmlr.org/papers/v13/bergstra12a.html",
)

CONTROLLERS: Mapping[str, ControllerSpec] = {
    spec.name: spec for spec in (NSGA2_SPEC, TPE_SPEC, RANDOM_SPEC)
}
