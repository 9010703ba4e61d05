"""Which operands train a model and which examine it, decided by a hash of the operands alone.

The language, the operation and the skill do not enter the hash. An operand tuple held out for
one skill is therefore held out in every skill, language and script, and for every operation.
"""

import hashlib
from typing import Literal

Split = Literal["train", "fewshot", "search", "select", "test"]

# Upper ends of each split's share of 100 hash buckets.
_UPPER_BUCKETS: tuple[tuple[Split, int], ...] = (
    ("train", 58),
    ("fewshot", 62),
    ("search", 75),
    ("select", 85),
    ("test", 100),
)


def split_of(operands: str) -> Split:
    """Return the one split that may contain these canonical operands."""
    digest = hashlib.sha256(operands.encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(split for split, upper in _UPPER_BUCKETS if bucket < upper)
