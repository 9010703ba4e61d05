"""What failed in a run: a line for a person, JSON for a program."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from evomerge.records import Failure

N_MESSAGES = 200
"""Failures that are quoted; the journal has them all."""


def failures_line(failures: Sequence[Failure]) -> str:
    """`Failed: 3 × timeout, 1 × exception (failures.json).`; empty where nothing failed."""
    if not failures:
        return ""
    counts = ", ".join(f"{n} × {reason}" for reason, n in _counts(failures).items())
    return f"Failed: {counts} (failures.json)."


def failures_json(failures: Sequence[Failure]) -> dict[str, Any]:
    """How many failed for which reason, and the last of them with their messages."""
    return {
        "counts": _counts(failures),
        "n_quoted": min(len(failures), N_MESSAGES),
        "failures": [
            {
                "candidate": failure.candidate_id,
                "phase": failure.phase,
                "reason": failure.reason,
                "message": failure.message,
            }
            for failure in failures[-N_MESSAGES:]
        ],
    }


def _counts(failures: Sequence[Failure]) -> dict[str, int]:
    return dict(Counter(failure.reason for failure in failures).most_common())
