"""Our model of a task's answers: few latent abilities, with the prior that models themselves show.

    P(right | θ) = σ(a_j · θ + d_j),  θ ∈ R^D

is the multidimensional two-parameter logistic model of Reckase (2009). The distribution of θ is not
taken to be normal: it is a histogram over fixed nodes, estimated with the items' parameters by
the EM algorithm of Bock and Aitkin (1981), https://doi.org/10.1007/BF02293801. Merges crowd near
their endpoints and where coefficients are good, so the histogram is a soft prior from the
endpoints' and their merges' abilities: none is impossible that a node stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.estimator import BoolArray, Estimates, FloatArray, checked_responses

N_TRAITS = 3
N_NODES = 512
N_STEPS = 40
SLOPE_SD = 1.0
INTERCEPT_SD = 2.0
PRIOR_MODELS = 20.0
"""The normal prior counts as much as this many models in the histogram of abilities."""


@dataclass(frozen=True, eq=False)
class Traits:
    """A fitted model of the answers to J items.

    Attributes:
        slopes: `(J, D)` a.
        intercepts: `(J,)` d, in logits.
        nodes: `(n_nodes, D)` abilities.
        log_prior: `(n_nodes,)` logarithm of their probabilities.
    """

    slopes: FloatArray
    intercepts: FloatArray
    nodes: FloatArray
    log_prior: FloatArray

    def __getstate__(self) -> dict[str, FloatArray]:
        """What travels: not what was computed from it meanwhile, which is a hundred times more."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def restricted(self, places: NDArray[np.intp]) -> "Traits":
        """The model of the answers to some of the items, in this order."""
        return replace(self, slopes=self.slopes[places], intercepts=self.intercepts[places])

    @cached_property
    def right(self) -> FloatArray:
        """P at every node, `(n_nodes, J)`."""
        return np.asarray(logistic(self._logits))

    @cached_property
    def _logits(self) -> FloatArray:
        return np.clip(self.nodes @ self.slopes.T + self.intercepts, -30.0, 30.0)

    @cached_property
    def _log_wrong(self) -> FloatArray:
        return np.asarray(np.log1p(-self.right))

    @cached_property
    def _chance(self) -> FloatArray:
        return self.right * (1.0 - self.right)

    def posterior(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """The probability of every node given each model's answers, `(n_models, n_nodes)`."""
        answered, correct = seen.astype(np.float64), (seen & right).astype(np.float64)
        log_weights = self.log_prior + correct @ self._logits.T + answered @ self._log_wrong.T
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def predictions(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """E[P] of every item given each model's answers, `(n_models, J)`."""
        return self.posterior(seen, right) @ self.right

    def estimates(self, seen: BoolArray, right: BoolArray) -> Estimates:
        """The seen items as they are, the unseen ones by the posterior.

        Z = (Σ_seen y + Σ_unseen E[P]) / J
        Var(Z) = (E[Σ_unseen P (1 − P)] + Var[Σ_unseen P]) / J²
        """
        weights = self.posterior(seen, right)
        unseen = (~seen).astype(np.float64)
        expected = unseen @ self.right.T  # (n_models, n_nodes) Σ_unseen P
        total = (weights * expected).sum(axis=1)
        chance = (weights * (unseen @ self._chance.T)).sum(axis=1)
        spread = (weights * (expected - total[:, None]) ** 2).sum(axis=1)
        n_items = seen.shape[1]
        mean = ((seen & right).sum(axis=1) + total) / n_items
        return Estimates.clipped(mean, np.sqrt(chance + spread) / n_items)

    def gains(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """By how much asking each item would lower Var(Z) on average, `(n_models, J)`.

            Var(Z) − E[Var(Z | y_j)] = Cov(Z, y_j)² / Var(y_j)

        exactly, since E[Z | y_j] is linear in an answer that is 0 or 1. The covariance has two
        parts, what y_j says about θ and y_j itself. Zero for the items that were seen.
        """
        weights = self.posterior(seen, right)
        unseen = (~seen).astype(np.float64)
        expected = unseen @ self.right.T
        centred = weights * (expected - (weights * expected).sum(axis=1, keepdims=True))
        covariance = centred @ self.right + weights @ self._chance  # (n_models, J)
        share = weights @ self.right
        variance = np.maximum(share * (1.0 - share), 1e-12)
        return np.asarray(unseen * covariance**2 / variance / seen.shape[1] ** 2)


def fit_traits(responses: ArrayLike, n_traits: int = N_TRAITS, *, histogram: bool = True) -> Traits:
    """Fit the model to models that answered all items.

    Deterministic. Slopes have the prior N(ā, 1) and intercepts N(d̄, 2²) around their own means
    over the items, which is what makes forty models enough. An item on which all agree is drawn
    to the others' slope and to an intercept far out.

    Args:
        responses: `(n_models, J)` 1 for right, 0 for wrong.
        n_traits: D, at least 1.
        histogram: whether to estimate the abilities' distribution; if not it stays N(0, I).

    Raises:
        ScoringError: an entry is missing or not 0 or 1.
    """
    answers = checked_responses(responses)
    nodes = normal_nodes(N_NODES, n_traits)
    design = _design(nodes)
    parameters = _start(answers, n_traits)  # (J, D + 1)
    log_prior = np.full(len(nodes), -np.log(len(nodes)))
    for _ in range(N_STEPS):
        traits = Traits(parameters[:, :-1], parameters[:, -1], nodes, log_prior)
        weights = traits.posterior(np.ones(answers.shape, dtype=bool), answers > 0.5)
        mass, n_right = weights.sum(axis=0), answers.T @ weights  # (n_nodes,), (J, n_nodes)
        parameters = _maximise(parameters, design, mass, n_right)
        if histogram:
            smooth = mass + PRIOR_MODELS / len(nodes)
            log_prior = np.log(smooth / smooth.sum())
    return Traits(parameters[:, :-1], parameters[:, -1], nodes, log_prior)


def parameter_errors(traits: Traits, responses: ArrayLike) -> FloatArray:
    """Standard errors of a and d, `(J, D + 1)`, on the models that they were fitted to.

    The inverse of the penalised curvature at the fit, abilities taken as their posterior: too small
    by what is not known of these models' abilities, which is little when they answered all items.
    """
    answers = checked_responses(responses)
    everything = np.ones(answers.shape, dtype=bool)
    mass = traits.posterior(everything, answers > 0.5).sum(axis=0)
    curvature = _curvature(_design(traits.nodes), mass, traits.right)
    return np.asarray(np.sqrt(np.linalg.inv(curvature).diagonal(axis1=1, axis2=2)))


def _design(nodes: FloatArray) -> FloatArray:
    return np.column_stack([nodes, np.ones(len(nodes))])  # (n_nodes, D + 1)


def _precision(n_traits: int) -> FloatArray:
    return np.array([SLOPE_SD**-2] * n_traits + [INTERCEPT_SD**-2])


def _curvature(design: FloatArray, mass: FloatArray, right: FloatArray) -> FloatArray:
    """Minus the second derivatives of every item's log posterior, `(J, D + 1, D + 1)`."""
    n_parameters = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    information = (mass[:, None] * right * (1.0 - right)).T @ products
    shaped = information.reshape(-1, n_parameters, n_parameters)
    return np.asarray(shaped + np.diag(_precision(n_parameters - 1)))


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


def logistic(logits: FloatArray) -> FloatArray:
    """σ(z), for logits whose absolute value is cut at 30, where it is 0 or 1 but for 1e-13."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))))


def _start(answers: FloatArray, n_traits: int) -> FloatArray:
    """Log-odds as intercepts, and the leading principal directions as slopes."""
    n_models, n_items = answers.shape
    share = answers.mean(axis=0)
    n_right = answers.sum(axis=0)
    parameters = np.zeros((n_items, n_traits + 1))
    parameters[:, -1] = np.log((n_right + 0.5) / (n_models - n_right + 0.5))
    _, scales, directions = np.linalg.svd(answers - share, full_matrices=False)
    for trait in range(min(n_traits, len(scales))):
        loading = directions[trait] * scales[trait] / np.sqrt(n_models)
        # A direction's sign is arbitrary; ability shall point the way of right answers.
        sign = 1.0 if loading.sum() >= 0.0 else -1.0
        parameters[:, trait] = sign * loading / np.maximum(share * (1.0 - share), 0.05)
    return parameters


def _maximise(
    parameters: FloatArray, design: FloatArray, mass: FloatArray, n_right: FloatArray
) -> FloatArray:
    """A Newton step of every item's penalised logistic regression on the nodes."""
    right = logistic(design @ parameters.T)  # (n_nodes, J)
    gradient = (n_right - (mass[:, None] * right).T) @ design
    gradient -= (parameters - parameters.mean(axis=0)) * _precision(parameters.shape[1] - 1)
    curvature = _curvature(design, mass, right)
    step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
    longest = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(parameters + step * np.minimum(1.0, 1.5 / np.maximum(longest, 1e-9)))


def best_items(
    gains: FloatArray, taken: BoolArray, n: int, *, barred: Sequence[int] = ()
) -> NDArray[np.intp]:
    """The `n` items with the largest gains for each model, `(n_models, n)` places, best first.

    Args:
        gains: `(n_models, J)` from `Traits.gains`.
        taken: `(n_models, J)` items not to be asked again.
        barred: places never to be chosen, such as flagged items.
    """
    open_gains = gains.copy()
    open_gains[:, list(barred)] = -1.0
    open_gains[taken] = -2.0
    return np.asarray(np.argsort(-open_gains, axis=1, kind="stable")[:, :n], dtype=np.intp)
