"""Whether the scores of the best few, scored again, are as good as reported."""

import numpy as np

from evomerge.irt.rescore import rescored
from evomerge.irt.traits import Traits

N_BEST = 5
N_FRESH = 100
NORMAL_95 = 1.959964


def after_selection(
    traits: Traits,
    seen: np.ndarray,
    answers: np.ndarray,
    estimates: np.ndarray,
    rng: np.random.Generator,
) -> float:
    """The share of the best few whose interval, after fresh items, holds their true score."""
    best = np.argsort(-estimates, kind="stable")[:N_BEST]
    seen, answers = seen[best], answers[best]
    n_fresh = min(N_FRESH, int((~seen).sum(axis=1).min()) // 2)
    fresh = np.zeros_like(seen)
    for row, mask in enumerate(seen):
        fresh[row, rng.permutation(np.flatnonzero(~mask))[:n_fresh]] = True
    result = rescored(traits, seen, fresh, answers)
    error = np.abs(result.mean - answers.mean(axis=1))
    return float((error <= NORMAL_95 * result.se + 1e-12).mean())
