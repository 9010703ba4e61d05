"""The Pareto front of what was evaluated, and its hypervolume; larger is better.

Equal points do not dominate each other: different recipes with the same scores are all answers, and
all are kept. A candidate enters once, with its first evaluation.

Where candidates are held to bounds the front is that of the feasible ones; as long as there is
none, that of the candidates with the smallest violation.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import compress

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from evomerge.errors import ScoringError, ShapeError
from evomerge.records import Evaluation

FloatArray = NDArray[np.float64]


def as_points(points: ArrayLike) -> FloatArray:
    """The points as a float64 array `(n, m)`, all finite.

    Raises:
        ShapeError: they are not a table.
        ScoringError: a number is NaN or infinite; the message names the row.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2:
        raise ShapeError(
            f"points have shape {array.shape}, expected (n_points, n_objectives); "
            "give every point the same objectives"
        )
    broken = ~np.isfinite(array).all(axis=1)
    if broken.any():
        row = int(np.argmax(broken))
        raise ScoringError(
            f"row {row} of the points is {array[row].tolist()}, expected finite numbers; "
            "a candidate without finite scores is a failure, not a point"
        )
    return array


def non_dominated(points: ArrayLike, maximise: bool | Sequence[bool] = True) -> NDArray[np.bool_]:
    """Which of the points no other point dominates, `(n,)`.

    A point dominates another when it is nowhere worse and somewhere better; so of equal points on
    the front all are marked.

    Args:
        points: `(n, m)`, m ≥ 1 objectives.
        maximise: for all objectives, or one by one.

    Raises:
        ShapeError, ScoringError: see `as_points`.
    """
    array = as_points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=np.bool_)
    mask = moocore.is_nondominated(array, maximise=maximise, keep_weakly=True)
    return np.asarray(mask, dtype=np.bool_)


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """The volume that maximised points dominate above the reference point.

    Args:
        points: `(n, m)`; points that do not exceed the reference everywhere add nothing.
        reference: `(m,)`.

    Raises:
        ShapeError: points and reference differ in their number of objectives.
        ScoringError: a number is NaN or infinite.
    """
    array = as_points(points)
    if array.shape[1] != len(reference):
        raise ShapeError(
            f"points have {array.shape[1]} objectives, the reference point has {len(reference)}; "
            "give the reference one number for each objective"
        )
    if len(array) == 0:
        return 0.0
    return float(moocore.hypervolume(array, ref=np.asarray(reference, float), maximise=True))


def front(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The evaluations that no other one dominates, in their order, each candidate once.

    Of the feasible ones where there are any, else of those with the smallest violation.

    Raises:
        ShapeError, ScoringError: see `as_points`.
    """
    unique: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        unique.setdefault(evaluation.candidate.id, evaluation)
    least = min((member.violation for member in unique.values()), default=0.0)
    members = [member for member in unique.values() if member.violation == least]
    if not members:
        return []
    mask = non_dominated([member.means for member in members])
    return [member for member, stays in zip(members, mask, strict=True) if stays]


class Archive:
    """The front so far, at a cost for each evaluation that depends on the front alone."""

    def __init__(self) -> None:
        self._members: dict[str, Evaluation] = {}
        self._points: FloatArray | None = None  # (n_members, n_objectives)
        self._violation = math.inf  # of the members: 0 once there is a feasible one
        self._volumes: dict[tuple[float, ...], float] = {}

    def __len__(self) -> int:
        """How many feasible members the front has."""
        return len(self._members) if self._violation == 0.0 else 0

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The members of the front in the order in which they came."""
        return tuple(self._members.values())

    def add(self, evaluation: Evaluation) -> bool:
        """Take in an evaluation; whether it is on the front now.

        Raises:
            ShapeError, ScoringError: see `as_points`.
        """
        point = as_points([evaluation.means])  # (1, n_objectives)
        if evaluation.violation > self._violation:
            return False
        if evaluation.violation < self._violation:
            self._begin(evaluation.violation)
        points = point[:0] if self._points is None else self._points
        no_worse = (points >= point).all(axis=1)
        equal = (points == point).all(axis=1)
        if (no_worse & ~equal).any() or evaluation.candidate.id in self._members:
            return False
        stays = equal | (points > point).any(axis=1)
        if not stays.all():
            points = points[stays]
            self._members = dict(compress(self._members.items(), stays))
        self._points = np.concatenate([points, point])
        self._members[evaluation.candidate.id] = evaluation
        if not equal.any():
            self._volumes.clear()
        return True

    def _begin(self, violation: float) -> None:
        """Forget members that miss their bounds by more."""
        self._members, self._points, self._violation = {}, None, violation
        self._volumes.clear()

    def hypervolume(self, reference: Sequence[float]) -> float:
        """The hypervolume of the feasible front above the reference point; zero without one.

        Computed only when the front has changed since it was last asked for.
        """
        if self._points is None or self._violation > 0.0:
            return 0.0
        key = tuple(reference)
        if key not in self._volumes:
            self._volumes[key] = hypervolume(self._points, reference)
        return self._volumes[key]
