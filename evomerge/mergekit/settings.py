"""Values of parameters: numbers, gradients over the layers, and choices by filters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.mergekit.report import KeyPath, Report

_EVERYTHING = "*"


@dataclass(frozen=True)
class Setting:
    """A parameter's value as the file has it.

    Args:
        rows: a substring of tensor names, empty for all, with the value of these tensors: one
            number, or several that lie evenly over the layers of the slice. The first row that
            fits decides.
    """

    rows: tuple[tuple[str, tuple[float, ...]], ...]

    def at(self, tensor: str, t: float) -> float | None:
        """The value for a tensor at `t`, from 0 at the slice's first layer to 1 at its last.

        None where no filter fits: then a setting further out decides.
        """
        for text, values in self.rows:
            if text in tensor:
                return _on_gradient(values, t)
        return None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Every number that is written down."""
        return tuple(number for _, values in self.rows for number in values)


def read_setting(path: KeyPath, node: Any, report: Report) -> Setting:
    """The setting that `node` says; without rows where it is reported to say none."""
    if isinstance(node, list) and node and all(isinstance(row, Mapping) for row in node):
        rows = [_read_row((*path, index), row, report) for index, row in enumerate(node)]
        return Setting(tuple(row for row in rows if row is not None))
    values = _read_values(path, node, report)
    return Setting(()) if values is None else Setting((("", values),))


def _read_row(
    path: KeyPath, node: Mapping[str, Any], report: Report
) -> tuple[str, tuple[float, ...]] | None:
    row = report.mapping(path, node, ("filter", "value"))
    if "value" not in row:
        report.add(path, "has no `value`, expected `- filter: TEXT` with `value: NUMBER` below")
        return None
    values = _read_values((*path, "value"), row["value"], report)
    text = "" if row.get("filter") in (None, _EVERYTHING) else str(row["filter"])
    return None if values is None else (text, values)


def _read_values(path: KeyPath, node: Any, report: Report) -> tuple[float, ...] | None:
    values: Sequence[Any] = node if isinstance(node, list) else [node]
    if values and all(_is_number(value) for value in values):
        return tuple(float(value) for value in values)
    report.add(
        path,
        f"found {node!r}, expected a number, a list of numbers (a gradient over the layers), or a "
        "list of `filter` and `value`",
    )
    return None


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _on_gradient(values: Sequence[float], t: float) -> float:
    """The piecewise linear curve through `values` at t = 0, 1 / (n − 1), …, 1."""
    if len(values) == 1:
        return values[0]
    position = t * (len(values) - 1)
    first = min(int(position), len(values) - 2)
    share = position - first
    return (1.0 - share) * values[first] + share * values[first + 1]
