"""What both pictures of a front share: who stands where, the staircase, ranges, labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.records import Comparison, Member, Phase
from evomerge.tracking.directions import measure_of
from evomerge.tracking.placement import place_labels
from evomerge.tracking.ranking import UNKNOWN, ranked, ranked_baselines, scores

BARRED = "misses a bound"
"""What pictures call who is not on the front for that reason."""


@dataclass(frozen=True)
class Mark:
    """A member as a point of a plot, with its standard errors (0 where unknown)."""

    name: str
    member: Member
    x: float
    y: float
    x_se: float = 0.0
    y_se: float = 0.0


@dataclass(frozen=True)
class Scene:
    """All points of the plane of two objectives, the best front member first.

    `signs` has −1 for an axis on which smaller is better.
    """

    front: tuple[Mark, ...]
    baselines: tuple[Mark, ...]
    dominated: tuple[Mark, ...]
    signs: tuple[int, int] = (1, 1)

    @property
    def beaten(self) -> tuple[Mark, ...]:
        """The dominated that meet every bound."""
        return tuple(mark for mark in self.dominated if mark.member.violation == 0.0)

    @property
    def barred(self) -> tuple[Mark, ...]:
        """Those that are not on the front as they miss a bound."""
        return tuple(mark for mark in self.dominated if mark.member.violation > 0.0)

    def corners(self) -> list[tuple[float, float]]:
        """The corner line of what the front attains."""
        return staircase([(mark.x, mark.y) for mark in self.front], self.signs)

    def marks(self) -> tuple[Mark, ...]:
        """Every point."""
        return self.front + self.baselines + self.dominated


def scene(comparison: Comparison, phase: Phase, x: str, y: str) -> Scene:
    """The points of objectives `x` and `y`; the dominated have no test scores."""
    dominated = [(member.id, member) for member in comparison.dominated]
    return Scene(
        signs=(_sign(comparison, x), _sign(comparison, y)),
        front=_marks(ranked(comparison), phase, x, y),
        baselines=_marks(ranked_baselines(comparison), phase, x, y),
        dominated=_marks(dominated, phase, x, y),
    )


def _marks(pairs: Sequence[tuple[str, Member]], phase: Phase, x: str, y: str) -> tuple[Mark, ...]:
    found = []
    for name, member in pairs:
        across = scores(member, phase).get(x, UNKNOWN)
        up = scores(member, phase).get(y, UNKNOWN)
        if math.isfinite(across.mean) and math.isfinite(up.mean):
            errors = (_known(across.se), _known(up.se))
            found.append(Mark(name, member, across.mean, up.mean, *errors))
    return tuple(found)


def _sign(comparison: Comparison, name: str) -> int:
    return 1 if measure_of(comparison, name).higher_is_better else -1


def _known(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def staircase(
    points: Sequence[tuple[float, float]], signs: tuple[int, int] = (1, 1)
) -> list[tuple[float, float]]:
    """The corner line of what the points attain, from the worst to the best of the first axis.

    An axis with sign 1 is maximised, one with sign −1 minimised.
    """
    across, up = signs
    corners: list[tuple[float, float]] = []
    highest = -math.inf
    for x, y in sorted(((across * x, up * y) for x, y in points), reverse=True):
        if y > highest:
            if corners:
                corners.append((x, highest))
            corners.append((x, y))
            highest = y
    return [(across * x, up * y) for x, y in corners[::-1]]


def padded_range(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """An axis that shows every value with its error, with 7 % of air at both ends."""
    low = min((value - error for value, error in values), default=0.0)
    high = max((value + error for value, error in values), default=1.0)
    air = 0.07 * ((high - low) or 1.0)
    return low - air, high + air


@dataclass(frozen=True)
class Window:
    """The ranges of both axes and the size of the plot in pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    size: tuple[float, float]

    def pixels(self, mark: Mark) -> tuple[float, float]:
        """Where a mark stands, from the lower left corner."""
        across = (mark.x - self.x[0]) / (self.x[1] - self.x[0])
        up = (mark.y - self.y[0]) / (self.y[1] - self.y[0])
        return across * self.size[0], up * self.size[1]


def window(shown: Scene, size: tuple[float, float]) -> Window:
    """The window that shows every point of a scene."""
    marks = shown.marks()
    return Window(
        x=padded_range([(mark.x, mark.x_se) for mark in marks]),
        y=padded_range([(mark.y, mark.y_se) for mark in marks]),
        size=size,
    )


def baseline_positions(shown: Scene, view: Window) -> list[str]:
    """Where the label of each baseline stands."""
    anchors = [view.pixels(mark) for mark in shown.baselines]
    names = [mark.name for mark in shown.baselines]
    obstacles = [view.pixels(mark) for mark in shown.front]
    return place_labels(anchors, names, obstacles, view.size)
