"""Our model of a task's answers: few latent abilities, with the prior that models themselves show.

    P(right | θ) = σ(a_j · θ + d_j),  θ ∈ R^D

is the multidimensional two-parameter logistic model of Reckase (2009); with lower asymptotes,
P = c_j + (1 − c_j) σ(a_j · θ + d_j), the three-parameter one. The distribution of θ is not taken
to be normal: it is a cloud of nodes around the abilities of models (`irt.fitting`), or a histogram
over fixed nodes. Merges crowd near their endpoints and where coefficients are good, so this is a
soft prior from the endpoints' and their merges' abilities: none is impossible.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.estimator import BoolArray, Estimates, FloatArray, checked_responses

Floats = NDArray[np.floating[Any]]

N_NODES = 512
N_HISTOGRAM_STEPS = 20
PRIOR_MODELS = 20.0
"""The normal prior counts as much as this many models in the histogram of abilities."""


@dataclass(frozen=True, eq=False)
class Traits:
    """A fitted model of the answers to J items.

    Attributes:
        slopes: `(J, D)` a.
        intercepts: `(J,)` d, in logits.
        nodes: `(n_nodes, D)` abilities; everything is computed in their precision.
        log_prior: `(n_nodes,)` logarithm of their probabilities.
        guessing: `(J,)` lower asymptotes c in [0, 1); None where all are zero.
    """

    slopes: FloatArray
    intercepts: FloatArray
    nodes: Floats
    log_prior: FloatArray
    guessing: FloatArray | None = None

    def __getstate__(self) -> dict[str, Floats | None]:
        """What travels: not what was computed from it meanwhile, which is a hundred times more."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def restricted(self, places: NDArray[np.intp]) -> "Traits":
        """The model of the answers to some of the items, in this order."""
        guessing = None if self.guessing is None else self.guessing[places]
        slopes, intercepts = self.slopes[places], self.intercepts[places]
        return replace(self, slopes=slopes, intercepts=intercepts, guessing=guessing)

    @cached_property
    def right(self) -> Floats:
        """P at every node, `(n_nodes, J)`."""
        return self.chance(self.nodes)

    def chance(self, abilities: Floats) -> Floats:
        """P at any abilities `(n, D)`, `(n, J)`, in their precision."""
        curve = logistic(self._logits(abilities))
        if self.guessing is None:
            return curve
        guessing = self.guessing.astype(curve.dtype)
        return np.asarray(guessing + (1.0 - guessing) * curve)

    @cached_property
    def shares(self) -> FloatArray:
        """P of each item for a model that nothing is known of, `(J,)`."""
        return np.asarray(np.exp(self.log_prior) @ self.right)

    @cached_property
    def normal_prior(self) -> tuple[FloatArray, FloatArray]:
        """The abilities' mean `(D,)`, and the inverse of their covariance `(D, D)`."""
        weights, nodes = np.exp(self.log_prior), np.asarray(self.nodes, dtype=np.float64)
        centre = np.asarray(weights @ nodes / weights.sum())
        spread = np.atleast_2d(np.cov(nodes, rowvar=False, aweights=weights))
        return centre, np.asarray(np.linalg.inv(spread + 1e-6 * np.eye(len(centre))), np.float64)

    def _logits(self, abilities: Floats) -> Floats:
        slopes, intercepts = (x.astype(abilities.dtype) for x in (self.slopes, self.intercepts))
        return np.clip(abilities @ slopes.T + intercepts, -30.0, 30.0)

    @cached_property
    def _log_odds(self) -> Floats:
        """log P − log(1 − P) at every node: what a right answer adds to that of a wrong one."""
        if self.guessing is None:
            return self._logits(self.nodes)
        return np.asarray(np.log(self.right) - self._log_wrong)

    @cached_property
    def _log_wrong(self) -> Floats:
        # 1 − P = (1 − c) / (1 + e^z): never rounded to zero, however sure a right answer is.
        logits = self._logits(self.nodes)
        log_wrong = np.minimum(-logits, 0.0) - np.log1p(np.exp(-np.abs(logits)))
        if self.guessing is not None:
            log_wrong = log_wrong + np.log1p(-self.guessing).astype(logits.dtype)
        return np.asarray(log_wrong)

    @cached_property
    def _chance(self) -> Floats:
        return self.right * (1.0 - self.right)

    def posterior(self, seen: BoolArray, right: BoolArray) -> Floats:
        """The probability of every node given each model's answers, `(n_models, n_nodes)`."""
        return _normalised(self._log_weights(seen, right))

    def log_likelihood(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """log E[Π_seen P^y (1 − P)^(1 − y)], over the prior, `(n_models,)`."""
        log_weights = self._log_weights(seen, right)
        return np.asarray(np.logaddexp.reduce(log_weights, axis=1), dtype=np.float64)

    def _log_weights(self, seen: BoolArray, right: BoolArray) -> Floats:
        answered, correct = (mask.astype(self.nodes.dtype) for mask in (seen, seen & right))
        log_odds, log_wrong = self._log_odds, self._log_wrong
        places = np.flatnonzero(seen.any(axis=0))
        if 2 * len(places) < seen.shape[1]:  # else a copy costs more than it saves
            answered, correct = answered[:, places], correct[:, places]
            log_odds, log_wrong = log_odds[:, places], log_wrong[:, places]
        log_weights = correct @ log_odds.T + answered @ log_wrong.T
        return np.asarray(self.log_prior.astype(log_weights.dtype) + log_weights)

    def predictions(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """E[P] of every item given each model's answers, `(n_models, J)`."""
        return np.asarray(self.posterior(seen, right) @ self.right, dtype=np.float64)

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The seen items as they are, the unseen ones by the posterior.

        Z = (Σ_seen y + Σ_unseen E[P]) / J
        Var(Z) = (E[Σ_unseen P (1 − P)] + Var[Σ_unseen P]) / J²
        """
        weights = self.posterior(seen, right)
        unseen = (~seen).astype(weights.dtype)
        expected = unseen @ self.right.T  # (n_models, n_nodes) Σ_unseen P
        total = (weights * expected).sum(axis=1, dtype=np.float64)
        chance = (weights * (unseen @ self._chance.T)).sum(axis=1)
        spread = (weights * (expected - total[:, None]) ** 2).sum(axis=1)
        n_items = seen.shape[1]
        mean = ((seen & right).sum(axis=1) + total) / n_items
        return Estimates.clipped(mean, np.sqrt(chance + spread) / n_items)


def with_histogram(traits: Traits, responses: ArrayLike) -> Traits:
    """The same items' parameters, with the distribution of abilities that these models show."""
    answers = checked_responses(responses) > 0.5
    everything = np.ones(answers.shape, dtype=bool)
    for _ in range(N_HISTOGRAM_STEPS):
        mass = traits.posterior(everything, answers).sum(axis=0)
        traits = replace(traits, log_prior=_log_histogram(mass))
    return traits


def _log_histogram(mass: FloatArray) -> FloatArray:
    smooth = mass + PRIOR_MODELS / len(mass)
    return np.asarray(np.log(smooth / smooth.sum()))


def _normalised(log_weights: Floats) -> Floats:
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@lru_cache
def normal_nodes(n_nodes: int, n_traits: int) -> FloatArray:
    """Equally likely points of N(0, I), `(n_nodes, n_traits)`; quantiles in one dimension.

    In more the points of Roberts' additive sequence, ½ + i / φ_D^k mod 1 with φ_D the root of
    φ^(D+1) = φ + 1, which fill the cube evenly.
    """
    if n_traits == 1:
        shares = (np.arange(n_nodes)[:, None] + 0.5) / n_nodes
    else:
        ratio = 2.0
        for _ in range(60):
            ratio = (1.0 + ratio) ** (1.0 / (n_traits + 1))
        steps = ratio ** -np.arange(1.0, n_traits + 1.0)
        shares = (0.5 + np.arange(n_nodes)[:, None] * steps) % 1.0
    quantile = NormalDist().inv_cdf
    clipped = np.clip(shares, 1e-6, 1.0 - 1e-6)
    return np.array([[quantile(float(share)) for share in row] for row in clipped])


def logistic(logits: Floats) -> Floats:
    """σ(z), for logits whose absolute value is cut at 30, where it is 0 or 1 but for 1e-13."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))))


def best_items(
    gains: FloatArray, taken: BoolArray, n: int, *, barred: Sequence[int] = ()
) -> NDArray[np.intp]:
    """The `n` items with the largest gains for each model, `(n_models, n)` places, best first.

    Args:
        gains: `(n_models, J)` from `local.gains`.
        taken: `(n_models, J)` items not to be asked again.
        barred: places never to be chosen, such as flagged items.
    """
    open_gains = gains.copy()
    open_gains[:, list(barred)] = -1.0
    open_gains[taken] = -2.0
    return np.asarray(np.argsort(-open_gains, axis=1, kind="stable")[:, :n], dtype=np.intp)
