"""Response curves of items on a grid of abilities: all that an estimate needs, computed once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

REACH_SD = 8.0
N_NODES = 321
"""Nodes 0.05 prior standard deviations apart: a posterior as narrow as that is integrated to 1e-8.

The sum over equidistant nodes is off by about 2 exp(−2π² (sd / step)²) for a normal density
(Trefethen and Weideman, 2014, https://doi.org/10.1137/130932132). A posterior so narrow takes some
two thousand items that are seen.
"""


@dataclass(frozen=True, eq=False)
class Curves:
    """The 2PL curves of J items at every node of the ability grid.

    `nodes` and `log_prior`: `(n_nodes,)` abilities θ and the logarithm of their prior density up to
    a constant. `right`: `(n_nodes, J)`, P = σ(a θ + d). `log_wrong`: `(n_nodes, J)`, log(1 − P),
    finite however improbable a wrong answer is.
    """

    nodes: FloatArray
    log_prior: FloatArray
    right: FloatArray
    log_wrong: FloatArray

    @classmethod
    def of(
        cls, discrimination: FloatArray, intercept: FloatArray, mean: float, sd: float
    ) -> "Curves":
        """The curves of items `(J,)` around the prior N(mean, sd²) of the ability."""
        standard = np.linspace(-REACH_SD, REACH_SD, N_NODES)
        nodes = mean + sd * standard
        logit = discrimination * nodes[:, None] + intercept  # (n_nodes, J)
        # σ(z) = exp(−log(1 + e^−z)): no step of it overflows or underflows to a logarithm of zero.
        right = np.exp(-np.logaddexp(0.0, -logit))
        return cls(nodes, -0.5 * standard**2, right, -np.logaddexp(0.0, logit))
