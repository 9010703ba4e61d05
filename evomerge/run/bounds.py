"""What an objective is held to instead of being optimised: `require` of the experiment file."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from evomerge.errors import UsageError
from evomerge.records import Bound

_FORM = re.compile(
    r"\s*(?P<relation>>=|<=)\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"\s*(?:\*\s*(?P<baseline>[A-Za-z0-9][A-Za-z0-9._-]*)\s*)?"
)


@dataclass(frozen=True)
class Requirement:
    """A bound as the experiment says it: at least or at most a number, or one times a baseline."""

    relation: Literal[">=", "<="]
    number: float
    baseline: str | None = None

    def __str__(self) -> str:
        times = f" * {self.baseline}" if self.baseline else ""
        return f"{self.relation} {self.number:g}{times}"

    def bound(self, unit: float) -> Bound:
        """The bound that it comes to; `unit` is the mean of its baseline, 1 without one."""
        return Bound(self.relation, self.number * unit, str(self))


def parse_requirement(text: str) -> Requirement:
    """What `>= 0.98 * base` says.

    Raises:
        UsageError: it has another form.
    """
    found = _FORM.fullmatch(text)
    number = float(found["number"]) if found else math.nan
    if found is None or not math.isfinite(number):
        raise UsageError(
            f"found {text!r}, expected `>=` or `<=`, a number, and `* BASELINE` where it is a "
            "multiple of a baseline's score, such as `>= 0.98 * base`"
        )
    relation: Literal[">=", "<="] = ">=" if found["relation"] == ">=" else "<="
    return Requirement(relation, number, found["baseline"])
