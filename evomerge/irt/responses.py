"""A response matrix as a file: which models answered which items of a task rightly.

Rows are models, columns are items. The header of an item's column is its document id; one column
with another header, such as `model`, holds the models' names. Entries are 0 or 1.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evomerge.errors import CalibrationError
from evomerge.irt.estimator import FloatArray
from evomerge.irt.files import write_whole

NUMBERS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True, eq=False)
class Responses:
    """What models answered.

    Attributes:
        models: `(n_models,)` names, all different.
        items: `(J,)` document ids, ascending.
        matrix: `(n_models, J)` 1 for right, 0 for wrong.
    """

    models: tuple[str, ...]
    items: tuple[int, ...]
    matrix: FloatArray


@dataclass(frozen=True)
class Row:
    """A row of a file as text, an empty one for what is missing; `where` is for messages."""

    where: str
    cells: tuple[str, ...]


def read_responses(path: Path) -> Responses:
    """The matrix of a CSV file, or of a Parquet file if its name ends so.

    Raises:
        CalibrationError: it cannot be read, or is no such matrix; the message names the row and the
            column.
    """
    try:
        header, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    # What pyarrow raises are ValueErrors and OSErrors.
    except (OSError, ValueError, csv.Error) as error:
        raise CalibrationError(
            f"{path} cannot be read as a response matrix ({error}); expected a CSV or Parquet file "
            "with models as rows and items as columns"
        ) from error
    return _Reader(path, header, rows).responses()


def write_responses(responses: Responses, path: Path) -> None:
    """Keep a matrix as a CSV file, whole or not at all.

    Raises:
        InfrastructureError: the disk refuses.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", *responses.items])
    for name, row in zip(responses.models, responses.matrix, strict=True):
        writer.writerow([name, *map(int, row)])
    write_whole(path, text.getvalue())


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        rows = [Row(f"line {reader.line_num}", tuple(cells)) for cells in reader if cells]
    return header, rows


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    # Not at module top: estimating needs no pyarrow.
    from pyarrow.parquet import read_table

    table = read_table(path)
    columns = [
        ["" if v is None else str(v) for v in column.to_pylist()] for column in table.columns
    ]
    rows = [Row(f"row {n}", cells) for n, cells in enumerate(zip(*columns, strict=True), start=1)]
    return list(table.column_names), rows


class _Reader:
    """Makes sense of a table of text."""

    def __init__(self, path: Path, header: Sequence[str], rows: Sequence[Row]) -> None:
        self._path = path
        self._header = [name.strip() for name in header]
        self._rows = rows
        self._places = [place for place, name in enumerate(self._header) if _is_id(name)]

    def responses(self) -> Responses:
        self._require_a_table()
        self._require_unique_columns()
        models = self._models()
        order = sorted(self._places, key=lambda place: int(self._header[place]))
        matrix = [[self._entry(row, place) for place in order] for row in self._rows]
        items = tuple(int(self._header[place]) for place in order)
        return Responses(models, items, np.array(matrix, dtype=np.float64))

    def _require_a_table(self) -> None:
        if not self._places or not self._rows:
            raise self._error(
                f"has {len(self._rows)} rows and {len(self._places)} columns that are named by a "
                "document id, expected at least one of each; the header names the items "
                "0, 1, 2 … as the task numbers its documents"
            )
        for row in self._rows:
            if len(row.cells) != len(self._header):
                raise self._error(
                    f"has {len(row.cells)} entries in {row.where}, expected {len(self._header)} as "
                    "in its header; complete the row or leave it out"
                )

    def _require_unique_columns(self) -> None:
        ids = Counter(int(self._header[place]) for place in self._places)
        if twice := [name for name, n in ids.items() if n > 1]:
            raise self._error(
                f"has {ids[twice[0]]} columns for item {twice[0]}, expected one; leave out the "
                "others, or write a header of document ids over the responses if there is none"
            )

    def _models(self) -> tuple[str, ...]:
        others = [place for place in range(len(self._header)) if place not in set(self._places)]
        if len(others) > 1:
            raise self._error(
                f"has columns {', '.join(repr(self._header[place]) for place in others[:3])} that "
                "are no document ids, expected at most one, with the models' names; name the items "
                "0, 1, 2 … as the task numbers its documents, and leave out the rest"
            )
        if not others:
            return tuple(str(number) for number in range(len(self._rows)))
        first: dict[str, str] = {}
        for row in self._rows:
            name = row.cells[others[0]].strip()
            if not name or name in first:
                found = f"{name!r} in {first[name]} already" if name else "no name"
                raise self._error(
                    f"has {found} for the model in {row.where}, expected another name for each "
                    "model; rename it or leave out the row"
                )
            first[name] = row.where
        return tuple(first)

    def _entry(self, row: Row, place: int) -> float:
        text = row.cells[place].strip()
        value = NUMBERS.get(text.lower())
        return value if value is not None else self._number(row, place, text)

    def _number(self, row: Row, place: int, text: str) -> float:
        """An entry written in another way, such as `1e0`."""
        try:
            number = float(text or "nan")
        except ValueError:
            number = None
        if number in (0.0, 1.0):
            return number
        where = f"{row.where}, column {self._header[place]!r}"
        if number is None:
            raise self._error(f"has {text!r} in {where}, expected 0 or 1; {_HOW}")
        if np.isnan(number):
            raise self._error(
                f"has no entry ({text or 'empty'}) in {where}, expected 0 or 1; leave out models "
                "and items with missing answers"
            )
        raise self._error(f"has {text} in {where}, expected 0 or 1; {_HOW}")

    def _error(self, found: str) -> CalibrationError:
        return CalibrationError(f"the response matrix {self._path} {found}")


_HOW = (
    "an item bank needs answers that are right or wrong: for a score between, write 1 where it "
    "passes a threshold of yours, or keep the estimator `mean`"
)


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit()
