"""Uniform random search: what every cleverer controller has to beat."""

import numpy as np

from evomerge.records import Evaluation, Outcome
from evomerge.search.controller import FloatArray, require_finite


class RandomSearch:
    """Draws every genome uniformly from the unit cube and learns nothing."""

    def __init__(self, n_dims: int) -> None:
        self._n_dims = n_dims

    def ask(self, number: int, rng: np.random.Generator) -> FloatArray:
        """A uniform genome, `(n_dims,)`."""
        return rng.random(self._n_dims)

    def tell(self, outcome: Outcome) -> None:
        """Refuse what is not a number, forget the rest.

        Raises:
            ScoringError: an objective is NaN or infinite.
        """
        if isinstance(outcome, Evaluation):
            require_finite(outcome)
