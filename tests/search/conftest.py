"""A made-up method with a parameter of every sort, and candidates with known scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from evomerge.records import (
    Candidate,
    Estimate,
    Evaluation,
    FailedCandidate,
    Failure,
    Recipe,
)
from evomerge.search.space import SearchSpace


@dataclass(frozen=True)
class Parameter:
    name: str
    low: float
    high: float
    default: float
    per_expert: bool
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Method:
    name: str
    parameters: tuple[Parameter, ...]


METHOD = Method(
    "made_up",
    (
        Parameter("coefficient", -0.5, 1.5, 1.0, per_expert=True),
        Parameter("rate", 1e-7, 3e-1, 1e-3, per_expert=True, scale="log"),
        Parameter("density", 1 / 3, 1.0, 0.5, per_expert=False),
    ),
)


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    """Two experts and three groups: 3 × (2 + 2 + 1) genes."""
    groups = ("embeddings", "layers.0-1", "head")
    return SearchSpace(dict.fromkeys(groups, (METHOD,)), ("math", "german"), seed=5)


@pytest.fixture(scope="session")
def method() -> Method:
    return METHOD


@pytest.fixture(scope="session")
def evaluated() -> Callable[..., Evaluation]:
    """Makes the evaluation of candidate `number` with a genome and the means of its objectives."""

    def make(
        number: int, genome: Sequence[float], means: Sequence[float], violation: float = 0.0
    ) -> Evaluation:
        candidate = Candidate(number, tuple(genome), Recipe((), {}, seed=number))
        objectives = {f"task_{i}": Estimate(mean, 0.0, 100) for i, mean in enumerate(means)}
        return Evaluation(candidate, objectives, violation=violation)

    return make


@pytest.fixture(scope="session")
def failed() -> Callable[[int, Sequence[float]], FailedCandidate]:
    """Makes candidate `number`, failed."""

    def make(number: int, genome: Sequence[float]) -> FailedCandidate:
        candidate = Candidate(number, tuple(genome), Recipe((), {}, seed=number))
        return FailedCandidate(candidate, Failure(candidate.id, "timeout"))

    return make
