"""Where a search begins when nothing is known yet."""

import numpy as np

from evomerge.search.controller import FloatArray


class LatinHypercube:
    """The first `n` points of a search: every gene meets each of n equal strata exactly once.

    McKay, Beckman and Conover (1979), https://doi.org/10.1080/00401706.1979.10489755. `seed` deals
    out the strata; where in its stratum a point lies is drawn when it is asked for.
    """

    def __init__(self, n_dims: int, n: int, seed: int) -> None:
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        columns = [rng.permutation(n) for _ in range(n_dims)]
        self._strata = np.stack(columns, axis=1).astype(np.int64)  # (n, n_dims)

    def __len__(self) -> int:
        return len(self._strata)

    def point(self, number: int, rng: np.random.Generator) -> FloatArray:
        """Point `number` < n: `(n_dims,)` in [0, 1)."""
        strata = self._strata[number]
        return np.asarray((strata + rng.random(strata.shape)) / len(self))
