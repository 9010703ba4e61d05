"""Which answers would tell most, by a normal approximation to what is known of each ability.

Choosing items needs no nodes: around its most likely value the posterior of θ is near enough to
normal, N(θ̂, V), and what an answer would say follows in closed form. On nodes the choice is worse,
since those near a model that has answered many items are few.
"""

from dataclasses import dataclass

import numpy as np

from evomerge.irt.estimator import BoolArray, FloatArray
from evomerge.irt.traits import Floats, Traits, logistic

N_STEPS = 12
CLOSE = 0.01


def gains(traits: Traits, seen: BoolArray, right: BoolArray) -> FloatArray:
    """By how much asking each item would lower Var(Z) on average, `(n_models, J)`.

        Var(Z) − E[Var(Z | y_j)] = Cov(Z, y_j)² / Var(y_j)

    since E[Z | y_j] is linear in an answer that is 0 or 1. The covariance has two parts, what y_j
    says about θ and y_j itself. Averages of the logistic curve over N(z, s) are MacKay's (1992),
    σ(z / √(1 + π s / 8)), https://doi.org/10.1162/neco.1992.4.5.720. Zero for items that were seen.
    """
    local = around(traits, seen, right)
    unseen = (~seen).astype(np.float32)
    spread = np.einsum("mij,mj->mi", local.variances, (unseen * local.steepness) @ local.slopes)
    covariance = local.steepness * (spread @ local.slopes.T) + local.chance  # Cov(θ, Σ_unseen P)
    variance = np.maximum(local.share * (1.0 - local.share), 1e-6)
    lower = unseen * covariance**2 / variance / seen.shape[1] ** 2
    return np.asarray(lower, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Local:
    """What answers would say about each model's ability, to first order around the likeliest.

        y_j ≈ E[P_j] + s_j a_j · (θ − θ̂) + noise,  θ ~ N(θ̂, V),  Var(noise) = E[P_j (1 − P_j)]

    Attributes:
        slopes: `(J, D)` a.
        variances: `(n_models, D, D)` V.
        share: `(n_models, J)` E[P].
        steepness: `(n_models, J)` s.
        chance: `(n_models, J)` the variance of the noise.
    """

    slopes: Floats
    variances: Floats
    share: Floats
    steepness: Floats
    chance: Floats


def around(traits: Traits, seen: BoolArray, right: BoolArray) -> Local:
    """The approximation around the likeliest ability of each model given its answers."""
    abilities, variances = mode(traits, seen, right)
    slopes = traits.slopes.astype(np.float32)
    doubt = variances.reshape(len(seen), -1) @ _products(slopes).T  # (n_models, J) Var(z_j)
    narrower = 1.0 / np.sqrt(1.0 + np.pi * doubt / 8.0)
    curve = logistic(narrower * (abilities @ slopes.T + traits.intercepts.astype(np.float32)))
    share, steepness = _with_guessing(traits, curve, narrower * curve * (1.0 - curve))
    chance = np.maximum(share * (1.0 - share) - steepness**2 * doubt, 0.0)
    return Local(slopes, variances, share, steepness, chance)


def mode(traits: Traits, seen: BoolArray, right: BoolArray) -> tuple[Floats, Floats]:
    """The most likely ability of each model, `(n_models, D)`, and its covariance `(…, D, D)`.

    Fisher scoring; the prior is normal, with the mean and covariance of the nodes.
    """
    centre, precision = traits.normal_prior
    found = np.tile(centre, (len(seen), 1))
    moving = np.arange(len(seen))
    for _ in range(N_STEPS):
        gradient, curvature = _slope_and_curvature(
            traits, found[moving], seen[moving], right[moving]
        )
        gradient -= (found[moving] - centre) @ precision
        step = np.linalg.solve(curvature + precision, gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        found[moving] += step * np.minimum(1.0, 1.0 / np.maximum(longest, 1e-9))
        moving = moving[longest[:, 0] > CLOSE]
        if not len(moving):
            break
    curvature = _slope_and_curvature(traits, found, seen, right)[1] + precision
    return found.astype(np.float32), np.linalg.inv(curvature).astype(np.float32)


def _slope_and_curvature(
    traits: Traits, abilities: FloatArray, seen: BoolArray, right: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Of the log-likelihood: its derivative `(n_models, D)`, and minus the expected second one."""
    slopes, intercepts = traits.slopes.astype(np.float32), traits.intercepts.astype(np.float32)
    curve = logistic(abilities.astype(np.float32) @ slopes.T + intercepts)
    share, steepness = _with_guessing(traits, curve, curve * (1.0 - curve))
    weight = seen * steepness / np.maximum(share * (1.0 - share), 1e-9)
    gradient = np.asarray((weight * (right - share)) @ slopes, dtype=np.float64)
    shape = (*abilities.shape, abilities.shape[1])
    return gradient, ((weight * steepness) @ _products(slopes)).reshape(shape)


def _products(slopes: Floats) -> Floats:
    """a aᵀ of every item, `(J, D²)`."""
    return (slopes[:, :, None] * slopes[:, None, :]).reshape(len(slopes), -1)


def _with_guessing(traits: Traits, curve: Floats, steepness: Floats) -> tuple[Floats, Floats]:
    """P and ∂P / ∂z from those of the logistic curve."""
    if traits.guessing is None:
        return curve, steepness
    open_share = (1.0 - traits.guessing).astype(np.float32)
    return 1.0 - open_share * (1.0 - curve), open_share * steepness
