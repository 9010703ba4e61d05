"""Response matrices, rows models and columns items: the zoo's packed file or a user's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evomerge.errors import CalibrationError
from evomerge.irt.responses import read_responses


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
    """A user's matrix: CSV or Parquet as `read_responses` has it, or npz with one 2-D array.

    Raises:
        CalibrationError: it is no such file, or an entry is missing or neither 0 nor 1.
    """
    if path.suffix != ".npz":
        found = read_responses(path)
        return Matrix(path.stem, found.models, found.items, found.matrix > 0.5)
    with np.load(path, allow_pickle=False) as stored:
        arrays = [stored[key] for key in stored.files if stored[key].ndim == 2]
    if len(arrays) != 1 or not np.isin(arrays[0], (0, 1)).all():
        raise CalibrationError(
            f"{path.name} has {len(arrays)} arrays of two dimensions, expected one, with models as "
            "rows, items as columns, and every entry 0 or 1"
        )
    n_models, n_items = arrays[0].shape
    models = tuple(f"model {row}" for row in range(n_models))
    return Matrix(path.stem, models, tuple(range(n_items)), arrays[0] > 0.5)
