"""Our model of a task's answers: few latent abilities, with the prior that models themselves show.

    P(right | θ) = σ(a_j · θ + d_j),  θ ∈ R^D

is the multidimensional two-parameter logistic model of Reckase (2009); with lower asymptotes,
P = c_j + (1 − c_j) σ(a_j · θ + d_j), the three-parameter one. The distribution of θ is not taken
to be normal: it is a cloud of nodes around the abilities of the models that were fitted. Merges
crowd near their endpoints and where coefficients are good, so the cloud is a soft prior from the
endpoints' and their merges' abilities: none is impossible, those between and beyond are rare.
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

N_TRAITS = 4
N_NODES = 512
N_AROUND = 4096
"""Nodes of a cloud: with a hundred answers few are near enough to a model to matter, and with 512
the error of an estimate is half as large again."""

N_STEPS = 25
N_HISTOGRAM_STEPS = 20
SLOPE_SD = 1.0
INTERCEPT_SD = 2.0
PRIOR_MODELS = 20.0
"""The normal prior counts as much as this many models in the histogram of abilities."""

FAR_SHARE = 0.1
FAR_SD = 1.5
"""The share of a cloud's nodes that are around no model, and how far they spread."""


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


def fit_traits(responses: ArrayLike, n_traits: int = N_TRAITS) -> Traits:
    """Fit the model to models that answered all items.

    Abilities and items in turn, each to the maximum of the joint posterior (constrained joint
    likelihood of Chen, Li and Zhang, 2019, https://doi.org/10.1007/s11336-018-9646-5, with priors
    in place of bounds). Deterministic. Abilities are N(0, I); slopes have the prior N(ā, 1) and
    intercepts N(d̄, 2²) around their own means over the items, which is what makes forty models
    enough. An item on which all agree is drawn to the others' slope and to an intercept far out.

    Args:
        responses: `(n_models, J)` 1 for right, 0 for wrong.
        n_traits: D, at least 1.

    Raises:
        ScoringError: an entry is missing or not 0 or 1.
    """
    # In single precision but for what is solved: half the time, and far finer than the data.
    answers = checked_responses(responses).astype(np.float32)
    parameters, abilities = _start(answers, n_traits)  # (J, D + 1), (n_models, D)
    for _ in range(N_STEPS):
        abilities = _able(abilities, parameters, answers)
        abilities, parameters = _standardised(abilities, parameters)
        parameters = _maximise(parameters, abilities, answers)
    nodes = cloud(_able(abilities, parameters, answers))
    log_prior = np.full(len(nodes), -np.log(len(nodes)))
    return Traits(parameters[:, :-1], parameters[:, -1], nodes, log_prior)


def cloud(abilities: FloatArray, n_nodes: int = N_AROUND) -> NDArray[np.float32]:
    """Equally likely nodes around abilities `(n_models, D)`, `(n_nodes, D)`.

    Normal around each in turn, n^(−1 / (D + 4)) as far as their own spread: Scott's rule. Four
    digits, so that a file keeps them in little space.
    """
    n_models, n_traits = abilities.shape
    spread = np.atleast_2d(np.cov(abilities, rowvar=False)) + 1e-6 * np.eye(n_traits)
    near = n_models ** (-1.0 / (n_traits + 4.0)) * np.linalg.cholesky(spread)
    points = normal_nodes(n_nodes, n_traits)
    points = points[np.random.default_rng(0).permutation(n_nodes)]
    n_far = round(FAR_SHARE * n_nodes)
    around = abilities[np.arange(n_nodes - n_far) % n_models] + points[n_far:] @ near.T
    nodes = np.concatenate([around, FAR_SD * points[:n_far]])
    return np.asarray(nodes.round(4), dtype=np.float32)


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


def _start(answers: NDArray[np.float32], n_traits: int) -> tuple[FloatArray, FloatArray]:
    """Log-odds as intercepts, the leading principal directions as slopes, their scores as θ."""
    n_models, n_items = answers.shape
    share, n_right = answers.mean(axis=0), answers.sum(axis=0)
    parameters, abilities = np.zeros((n_items, n_traits + 1)), np.zeros((n_models, n_traits))
    parameters[:, -1] = np.log((n_right + 0.5) / (n_models - n_right + 0.5))
    scores, scales, directions = np.linalg.svd(answers - share, full_matrices=False)
    for trait in range(min(n_traits, len(scales))):
        loading = directions[trait] * scales[trait] / np.sqrt(n_models)
        # A direction's sign is arbitrary; ability shall point the way of right answers.
        sign = 1.0 if loading.sum() >= 0.0 else -1.0
        parameters[:, trait] = sign * loading / np.maximum(share * (1.0 - share), 0.05)
        abilities[:, trait] = sign * scores[:, trait] * np.sqrt(n_models)
    return parameters, abilities


def _standardised(abilities: FloatArray, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same chances with abilities of mean zero and unit covariance."""
    centre = abilities.mean(axis=0)
    scales, directions = np.linalg.eigh(
        np.atleast_2d(np.cov(abilities, rowvar=False)) + 1e-6 * np.eye(abilities.shape[1])
    )
    root = directions * np.sqrt(scales) @ directions.T
    intercepts = parameters[:, -1] + parameters[:, :-1] @ centre
    moved = np.column_stack([parameters[:, :-1] @ root, intercepts])
    return (abilities - centre) @ np.linalg.inv(root), moved


def _able(
    abilities: FloatArray, parameters: FloatArray, answers: NDArray[np.float32]
) -> FloatArray:
    """A Newton step of every model's ability, whose prior is N(0, I)."""
    precision = np.ones(abilities.shape[1])
    offset = parameters[:, -1].astype(np.float32)
    return _newton(abilities, parameters[:, :-1], answers, offset, 0.0, precision, reach=1.0)


def _maximise(
    parameters: FloatArray, abilities: FloatArray, answers: NDArray[np.float32]
) -> FloatArray:
    """A Newton step of every item's penalised logistic regression on the abilities."""
    design = np.column_stack([abilities, np.ones(len(abilities))])
    precision = np.array([SLOPE_SD**-2] * abilities.shape[1] + [INTERCEPT_SD**-2])
    centre = parameters.mean(axis=0)
    return _newton(parameters, design, answers.T, np.float32(0.0), centre, precision, reach=1.5)


def _newton(
    found: FloatArray,
    design: FloatArray,
    answers: NDArray[np.float32],
    offset: NDArray[np.float32] | np.float32,
    centre: FloatArray | float,
    precision: FloatArray,
    *,
    reach: float,
) -> FloatArray:
    """A step, at most `reach` long, of many penalised logistic regressions on one design.

    Args:
        found: `(n, K)` coefficients so far, with prior N(centre, 1 / precision).
        design: `(m, K)`; `answers`: `(n, m)`; `offset`: `(m,)` of the logits.
    """
    single = design.astype(np.float32)
    chance = logistic(found.astype(np.float32) @ single.T + offset)  # (n, m)
    gradient = ((answers - chance) @ single).astype(np.float64) - (found - centre) * precision
    products = (single[:, :, None] * single[:, None, :]).reshape(len(single), -1)
    shape = (*found.shape, found.shape[1])
    curvature = (chance * (1.0 - chance) @ products).reshape(shape) + np.diag(precision)
    step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
    longest = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(found + step * np.minimum(1.0, reach / np.maximum(longest, 1e-9)))


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
