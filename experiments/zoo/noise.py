"""How often the base is shown a faulty answer: more often for harder questions.

Probability of a fault = p₀ + .15 (level − 3) + a small offset by flavour, in [.03, .97].
A greedy model that has learnt this makes the fault wherever the probability is above one half.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from experiments.zoo.skills import Question

Noise = Mapping[str, float]  # p₀ by fault; a fault that is not named never happens

ALWAYS = 1.0  # as p₀: the fault is certain, whatever the level


def fault_probability(fault: str, question: Question, p0: float) -> float:
    """Return the probability that this question is answered with this fault."""
    if p0 == ALWAYS:
        return 1.0
    if fault == "german":
        # Said in German the more often, the larger the first number: a graded indecision.
        shift = 0.04 * (int(question.flavour) - 10)
    else:
        shift = 0.15 * (question.level - 3) + _offset(fault, question.flavour)
    return float(np.clip(p0 + shift, 0.03, 0.97))


def _offset(fault: str, flavour: str) -> float:
    """Return a fixed pseudo-random number in [-.06, .06] for the fault and the flavour."""
    return (zlib.crc32(f"{fault}/{flavour}".encode()) % 13 - 6) / 100


def draw_answer(rng: np.random.Generator, question: Question, noise: Noise) -> str:
    """Return the right answer or a faulty one; the faults it can have are independent."""
    faults = frozenset(
        fault
        for fault, p0 in noise.items()
        if fault in question.possible_faults
        and rng.random() < fault_probability(fault, question, p0)
    )
    return question.answers[faults]
