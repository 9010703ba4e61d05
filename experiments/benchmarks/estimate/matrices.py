"""Response matrices, rows models and columns items: the zoo's packed file or a user's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evomerge.errors import CalibrationError


@dataclass(frozen=True, eq=False)
class Matrix:
    """`responses`: `(n_models, n_items)` bool, right or wrong, of models on a task's items."""

    task: str
    models: tuple[str, ...]
    items: tuple[int, ...]
    responses: np.ndarray


def write_zoo(path: Path, matrices: Sequence[Matrix]) -> None:
    """Keep matrices of the same models as packed bits, one array a task; replaces the file."""
    arrays = {
        f"bits:{matrix.task}:{matrix.items[0]}-{matrix.items[-1]}": np.packbits(
            matrix.responses, axis=1
        )
        for matrix in matrices
    }
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, models=np.array(matrices[0].models), **arrays)
    partial.replace(path)


def read_zoo(path: Path) -> list[Matrix]:
    """What `write_zoo` kept."""
    with np.load(path, allow_pickle=False) as stored:
        models = tuple(map(str, stored["models"]))
        matrices = []
        for key in stored.files:
            if key.startswith("bits:"):
                _, task, span = key.split(":")
                first, last = map(int, span.split("-"))
                items = tuple(range(first, last + 1))
                bits = np.unpackbits(stored[key], axis=1, count=len(items)).astype(bool)
                matrices.append(Matrix(task, models, items, bits))
    return matrices


def read_table(path: Path) -> Matrix:
    """A user's matrix: the first column names the models, the header names the items.

    Raises:
        CalibrationError: an entry is missing or neither 0 nor 1.
    """
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, index_col=0)
    values = table.to_numpy(dtype=float)
    wrong = np.argwhere(~np.isin(values, (0.0, 1.0)))
    if len(wrong):
        row, column = wrong[0]
        raise CalibrationError(
            f"{path.name} has {values[row, column]:g} for model {table.index[row]} on item "
            f"{table.columns[column]}, expected 0 or 1; drop models or items with other results"
        )
    models = tuple(map(str, table.index))
    return Matrix(path.stem, models, tuple(range(values.shape[1])), values > 0.5)
