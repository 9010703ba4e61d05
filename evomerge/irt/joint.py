"""A batch of items chosen together: each in view of what those before it will tell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evomerge.irt.estimator import BoolArray
from evomerge.irt.local import around
from evomerge.irt.traits import Traits

LEAST_VARIANCE = 1e-9
"""Of an answer that is as good as certain."""


def joint_batch(
    traits: Traits,
    seen: BoolArray,
    right: BoolArray,
    n: int,
    *,
    first: Sequence[int] = (),
    barred: Sequence[int] = (),
) -> NDArray[np.intp]:
    """The `n` places whose answers together would lower Var(Z) of one model most, greedily.

    `local.gains` rates an item by itself, Cov(Z, y_j)² / Var(y_j); items that tell the same then
    come together. Here the doubt V about θ shrinks with every item picked before, whatever its
    answer will be, as if answers were normal around `local.Local`:

        V ← V − V a s² aᵀ V / (s² aᵀ V a + E[P (1 − P)])

    Args:
        seen: `(J,)` items that were asked, `right` the answers to them.
        first: places that are asked in any case, before those chosen here.
        barred: places that are chosen only where no others are left.
    """
    local = around(traits, seen[None], right[None])
    doubt = local.variances[0].astype(np.float64)  # (D, D) V
    pulls = (local.steepness[0][:, None] * local.slopes).astype(np.float64)  # (J, D) s a
    chance = local.chance[0].astype(np.float64)
    rank = np.where(seen, 0, 2)  # of every place: taken, barred, open
    rank[[place for place in barred if not seen[place]]] = 1
    picks = list(first)
    for k in range(len(first) + n):
        if k == len(picks):
            spread = pulls @ doubt  # (J, D)
            variance = (spread * pulls).sum(axis=1) + chance
            covariance = spread @ pulls[rank > 0].sum(axis=0) + chance  # Cov(y_j, Σ_unseen y)
            gains = covariance**2 / np.maximum(variance, LEAST_VARIANCE)
            picks.append(int(np.where(rank == rank.max(), gains, -1.0).argmax()))
        pull = doubt @ pulls[picks[k]]
        variance_of_pick = max(float(pulls[picks[k]] @ pull + chance[picks[k]]), LEAST_VARIANCE)
        doubt -= np.outer(pull, pull) / variance_of_pick
        rank[picks[k]] = 0
    return np.array(picks[len(first) :], dtype=np.intp)
