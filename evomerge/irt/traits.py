"""Our model of a task's answers: few latent abilities, with the prior that models themselves show.

    P(right | θ) = σ(a_j · θ + d_j),  θ ∈ R^D

is the multidimensional two-parameter logistic model of Reckase (2009); with lower asymptotes,
P = c_j + (1 − c_j) σ(a_j · θ + d_j), the three-parameter one. The distribution of θ is not taken
to be normal: it is a histogram over fixed nodes, estimated with the items' parameters by the EM
algorithm of Bock and Aitkin (1981), https://doi.org/10.1007/BF02293801. Merges crowd near their
endpoints and where coefficients are good, so the histogram is a soft prior from the endpoints' and
their merges' abilities: none is impossible that a node stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.irt.estimator import BoolArray, Estimates, FloatArray, checked_responses

Precision = TypeVar("Precision", np.float32, np.float64)

N_TRAITS = 3
N_NODES = 512
N_STEPS = 20
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
        guessing: `(J,)` lower asymptotes c in [0, 1); None where all are zero.
    """

    slopes: FloatArray
    intercepts: FloatArray
    nodes: FloatArray
    log_prior: FloatArray
    guessing: FloatArray | None = None

    def __getstate__(self) -> dict[str, FloatArray | None]:
        """What travels: not what was computed from it meanwhile, which is a hundred times more."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def restricted(self, places: NDArray[np.intp]) -> "Traits":
        """The model of the answers to some of the items, in this order."""
        guessing = None if self.guessing is None else self.guessing[places]
        slopes, intercepts = self.slopes[places], self.intercepts[places]
        return replace(self, slopes=slopes, intercepts=intercepts, guessing=guessing)

    @cached_property
    def right(self) -> FloatArray:
        """P at every node, `(n_nodes, J)`."""
        return self.chance(self.nodes)

    def chance(self, abilities: FloatArray) -> FloatArray:
        """P at any abilities `(n, D)`, `(n, J)`."""
        curve = np.asarray(logistic(abilities @ self.slopes.T + self.intercepts))
        return curve if self.guessing is None else self.guessing + (1.0 - self.guessing) * curve

    @cached_property
    def shares(self) -> FloatArray:
        """P of each item for a model that nothing is known of, `(J,)`."""
        return np.asarray(np.exp(self.log_prior) @ self.right)

    @cached_property
    def _log_odds(self) -> FloatArray:
        """log P − log(1 − P) at every node: what a right answer adds to that of a wrong one."""
        if self.guessing is None:
            return np.clip(self.nodes @ self.slopes.T + self.intercepts, -30.0, 30.0)
        return np.asarray(np.log(self.right) - self._log_wrong)

    @cached_property
    def _log_wrong(self) -> FloatArray:
        return np.asarray(np.log1p(-self.right))

    @cached_property
    def _chance(self) -> FloatArray:
        return self.right * (1.0 - self.right)

    def posterior(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """The probability of every node given each model's answers, `(n_models, n_nodes)`."""
        return _normalised(self._log_weights(seen, right))

    def log_likelihood(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        """log E[Π_seen P^y (1 − P)^(1 − y)], over the prior, `(n_models,)`."""
        log_weights = self._log_weights(seen, right)
        return np.asarray(np.logaddexp.reduce(log_weights, axis=1))

    def _log_weights(self, seen: BoolArray, right: BoolArray) -> FloatArray:
        answered, correct = seen.astype(np.float64), (seen & right).astype(np.float64)
        log_weights = self.log_prior + correct @ self._log_odds.T + answered @ self._log_wrong.T
        return np.asarray(log_weights)

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
    # Sums over models and items are taken in float32, in half the time and far finer than the data.
    design, single = _design(nodes).astype(np.float32), answers.astype(np.float32)
    parameters = _start(answers, n_traits)  # (J, D + 1)
    log_prior = np.full(len(nodes), -np.log(len(nodes)))
    for _ in range(N_STEPS):
        logits = np.clip(design @ parameters.T.astype(np.float32), -30.0, 30.0)  # (n_nodes, J)
        right = logistic(logits)
        log_wrong = np.minimum(-logits, 0.0) - np.log1p(np.exp(-np.abs(logits)))
        weights = _normalised(log_prior + single @ logits.T + log_wrong.sum(axis=1))
        mass, n_right = weights.sum(axis=0), single.T @ weights.astype(np.float32)  # (J, n_nodes)
        parameters = _maximise(parameters, design, mass, n_right, right)
        if histogram:
            log_prior = _log_histogram(mass)
    return Traits(parameters[:, :-1], parameters[:, -1], nodes, log_prior)


def with_histogram(traits: Traits, responses: ArrayLike) -> Traits:
    """The same items' parameters, with the distribution of abilities that these models show."""
    answers = checked_responses(responses) > 0.5
    everything = np.ones(answers.shape, dtype=bool)
    for _ in range(N_STEPS):
        mass = traits.posterior(everything, answers).sum(axis=0)
        traits = replace(traits, log_prior=_log_histogram(mass))
    return traits


def _log_histogram(mass: FloatArray) -> FloatArray:
    smooth = mass + PRIOR_MODELS / len(mass)
    return np.asarray(np.log(smooth / smooth.sum()))


def _normalised(log_weights: FloatArray) -> FloatArray:
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _design(nodes: FloatArray) -> FloatArray:
    return np.column_stack([nodes, np.ones(len(nodes))])  # (n_nodes, D + 1)


def _precision(n_traits: int) -> FloatArray:
    return np.array([SLOPE_SD**-2] * n_traits + [INTERCEPT_SD**-2])


def _curvature(
    design: NDArray[np.floating], mass: NDArray[np.floating], right: NDArray[np.floating]
) -> FloatArray:
    """Minus the second derivatives of every item's log posterior, `(J, D + 1, D + 1)`."""
    n_parameters = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    information = (mass[:, None].astype(right.dtype) * right * (1.0 - right)).T @ products
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


def logistic(logits: NDArray[Precision]) -> NDArray[Precision]:
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
    parameters: FloatArray,
    design: NDArray[np.floating],
    mass: NDArray[np.floating],
    n_right: NDArray[np.floating],
    right: NDArray[np.floating],
) -> FloatArray:
    """A Newton step of every item's penalised logistic regression on the nodes.

    `n_right`: `(J, n_nodes)` models at each node that answered rightly; `right`: P at the nodes.
    """
    gradient = ((n_right - (mass[:, None].astype(right.dtype) * right).T) @ design).astype(
        np.float64
    )
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
