"""A searchable number of a merge method, with the bounds between which a search looks for it."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Parameter:
    """A number that a method needs for each layer group.

    Args:
        name: the key of the number in `GroupRecipe.values`.
        low: lower bound of the search, inclusive; a recipe written by hand may leave the bounds.
        high: upper bound of the search, inclusive.
        default: the value of the method's baseline, for every expert alike.
        per_expert: whether each expert has its own; a single number then holds for all of them.
        scale: how a search should space its steps.
        limits: the least and the greatest value that has a meaning at all, both included.
        full: the value at which a lone expert of coefficient 1 is merged whole; None where every
            value does that, infinity where none does.
        description: one line for a human.
    """

    name: str
    low: float
    high: float
    default: float
    per_expert: bool
    scale: Literal["linear", "log"] = "linear"
    limits: tuple[float, float] = (-math.inf, math.inf)
    full: float | None = None
    description: str = ""


FRACTION = (0.0, 1.0)
"""The limits of a fraction."""

NOT_NEGATIVE = (0.0, math.inf)
"""The limits of a threshold."""
