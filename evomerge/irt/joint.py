"""A batch of items chosen together: each in view of what those before it will tell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evomerge.irt.estimator import BoolArray, FloatArray
from evomerge.irt.traits import Traits

LEAST_VARIANCE = 1e-9
"""Of an answer: nothing is expected of one whose doubt others have taken."""


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

    `Traits.gains` rates an item by itself, Cov(Z, y_j)² / Var(y_j); items that tell the same then
    come together. Here the covariances are conditioned on every item picked before, whatever its
    answer will be, as if answers and score were jointly normal:

        Cov(u, v | y_i) = Cov(u, v) − Cov(u, y_i) Cov(y_i, v) / Var(y_i)

    Args:
        seen: `(J,)` items that were asked, `right` the answers to them.
        first: places that are asked in any case, before those chosen here.
        barred: places that are chosen only where no others are left.
    """
    weights = traits.posterior(seen[None], right[None])[0].astype(np.float64)  # (n_nodes,)
    chance = np.asarray(traits.right, dtype=np.float64)  # (n_nodes, J)
    share, expected = weights @ chance, chance @ ~seen
    about_score = (weights * (expected - weights @ expected)) @ chance
    about_score += weights @ (chance * (1.0 - chance))  # Cov(J Z, y_j)
    variance = share * (1.0 - share)
    rank = np.where(seen, 0, 2)  # of every place: taken, barred, open
    rank[[place for place in barred if not seen[place]]] = 1
    columns: list[FloatArray] = []  # Cov(y_i, y) / √Var(y_i) of each pick i, given those before
    picks = list(first)
    for k in range(len(first) + n):
        if k == len(picks):
            gains = about_score**2 / np.maximum(variance, LEAST_VARIANCE)
            picks.append(int(np.where(rank == rank.max(), gains, -1.0).argmax()))
        place = picks[k]
        column = (weights * (chance[:, place] - share[place])) @ chance
        column[place] = share[place] * (1.0 - share[place])
        column -= sum(other[place] * other for other in columns)
        column /= np.sqrt(max(column[place], LEAST_VARIANCE))
        about_score -= about_score[place] / max(column[place], LEAST_VARIANCE) * column
        variance -= column**2
        rank[place] = 0
        columns.append(column)
    return np.array(picks[len(first) :], dtype=np.intp)
