"""Whether a model's answers are such as its abilities make likely."""

import numpy as np

from evomerge.irt.estimator import BoolArray, FloatArray
from evomerge.irt.local import around
from evomerge.irt.traits import Traits


def person_fit(traits: Traits, seen: BoolArray, right: BoolArray) -> FloatArray:
    """The standardised log-likelihood of each model's answers, `(n_models,)`.

        l_z = (l − E[l]) / √Var[l],  l = Σ_seen y log p + (1 − y) log(1 − p)

    of Drasgow, Levine and Williams (1985), https://doi.org/10.1111/j.2044-8317.1985.tb00817.x, with
    p = E[P] given all answers (`local.around`). Where the model holds it is narrower than a
    standard normal and rather above zero, as the answers made p; far below zero where hard items
    are right and easy ones wrong.
    """
    share = np.asarray(around(traits, seen, right).share, dtype=np.float64)
    p = np.clip(share, 1e-6, 1.0 - 1e-6)
    log_odds = np.log(p / (1.0 - p))
    surprise = np.where(seen, (right - p) * log_odds, 0.0).sum(axis=1)  # l − E[l]
    variance = np.where(seen, p * (1.0 - p) * log_odds**2, 0.0).sum(axis=1)
    return np.asarray(surprise / np.sqrt(np.maximum(variance, 1e-12)))
