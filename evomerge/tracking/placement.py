"""Where the labels of a scatter plot go, so that they cover neither points nor each other."""

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER_PX = 7.0
LINE_PX = 16.0
_GAP_PX = 7.0

POSITIONS = (
    "top right",
    "top left",
    "bottom right",
    "bottom left",
    "middle right",
    "middle left",
    "top center",
    "bottom center",
)
"""Plotly's names for where a text stands, in the order of preference: the corners stay clear
of error bars."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The common area in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)


def place_labels(
    anchors: Sequence[tuple[float, float]],
    texts: Sequence[str],
    obstacles: Sequence[tuple[float, float]],
    size: tuple[float, float],
) -> list[str]:
    """One of `POSITIONS` for each label: greedily the one with the least overlap.

    Args:
        anchors: `(x, y)` in pixels of the points that are labelled.
        texts: their labels.
        obstacles: `(x, y)` in pixels of all points that a label should not cover.
        size: width and height of the plot in pixels; a label outside counts as covered.
    """
    taken = [_around(point) for point in (*obstacles, *anchors)]
    chosen = []
    for anchor, text in zip(anchors, texts, strict=True):
        costs = [
            _cost(label_box(anchor, text, position), taken, size) + rank
            for rank, position in enumerate(POSITIONS)
        ]
        best = POSITIONS[costs.index(min(costs))]
        taken.append(label_box(anchor, text, best))
        chosen.append(best)
    return chosen


def label_box(anchor: tuple[float, float], text: str, position: str) -> Box:
    """The rectangle of a label that stands at `position` of its anchor."""
    vertical, horizontal = position.split()
    width, height = CHARACTER_PX * len(text), LINE_PX
    left = {"left": -width - _GAP_PX, "center": -width / 2, "right": _GAP_PX}[horizontal] + anchor[
        0
    ]
    bottom = {"bottom": -height - _GAP_PX, "middle": -height / 2, "top": _GAP_PX}[
        vertical
    ] + anchor[1]
    return Box(left, bottom, left + width, bottom + height)


def _around(point: tuple[float, float]) -> Box:
    radius = 6.0
    return Box(point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)


def _cost(box: Box, taken: Sequence[Box], size: tuple[float, float]) -> float:
    inside = box.overlap(Box(0.0, 0.0, *size))
    outside = (box.right - box.left) * (box.top - box.bottom) - inside
    return sum(box.overlap(other) for other in taken) + 3 * outside
