"""What every controller can do, and the randomness that each ask may use."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import ScoringError
from evomerge.records import Evaluation, Outcome

FloatArray = NDArray[np.float64]


class Controller(Protocol):
    """Proposes genomes and learns from their outcomes.

    Of an evaluation `means` count, larger is better, and before them `violation`: 0 is feasible.

    Its state is a function of what it was told and in which order, and of nothing else: a resumed
    search tells it the same again and goes on.
    """

    def ask(self, number: int, rng: np.random.Generator) -> FloatArray:
        """The genome proposed as candidate `number`: `(n_dims,)` in [0, 1].

        All randomness comes from `rng`; the controller's state does not change.
        """

    def tell(self, outcome: Outcome) -> None:
        """Learn from one outcome, in any order, failures included.

        Raises:
            ScoringError: an objective is NaN or infinite.
        """


def ask_rng(seed: int, number: int, attempt: int = 0) -> np.random.Generator:
    """The generator for one ask: a function of the run's seed, the number and the attempt."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, attempt)))


def require_finite(evaluation: Evaluation) -> None:
    """Keep numbers that are none away from an optimiser.

    Raises:
        ScoringError: an objective's mean is NaN or infinite; the message names it.
    """
    for name, estimate in evaluation.objectives.items():
        if not np.isfinite(estimate.mean):
            raise ScoringError(
                f"objective {name} of candidate {evaluation.candidate.id} is {estimate.mean}, "
                "expected a finite number; tell a candidate without one as a FailedCandidate"
            )
