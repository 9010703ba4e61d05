"""Response matrices of users: what is read, and how each way to be wrong is told."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from evomerge.errors import CalibrationError, InfrastructureError
from evomerge.irt.responses import Responses, read_responses, write_responses

GOOD = "model,0,1,2\nred,1,0,1\nblue,0,0,1\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "answers.csv"
    path.write_text(text)
    return path


def write_parquet(folder: Path, columns: dict[str, list[object]]) -> Path:
    path = folder / "answers.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_csv_file_gives_names_items_and_answers(tmp_path: Path) -> None:
    read = read_responses(write(tmp_path, GOOD))
    assert read.models == ("red", "blue")
    assert read.items == (0, 1, 2)
    np.testing.assert_array_equal(read.matrix, [[1, 0, 1], [0, 0, 1]])


def test_a_parquet_file_says_the_same(tmp_path: Path) -> None:
    columns = {"0": [1, 0], "1": [0.0, 0.0], "2": [True, True], "model": ["red", "blue"]}
    read = read_responses(write_parquet(tmp_path, columns))
    assert read.models == ("red", "blue")
    assert read.items == (0, 1, 2)
    np.testing.assert_array_equal(read.matrix, [[1, 0, 1], [0, 0, 1]])


def test_models_without_names_are_numbered(tmp_path: Path) -> None:
    read = read_responses(write(tmp_path, "0,1\n1,0\n0,0\n1,1\n"))
    assert read.models == ("0", "1", "2")
    assert read.items == (0, 1)


def test_items_are_sorted_with_their_columns(tmp_path: Path) -> None:
    read = read_responses(write(tmp_path, "name,30,7\nred,1,0\n"))
    assert read.items == (7, 30)
    assert read.matrix.tolist() == [[0.0, 1.0]]


def test_numbers_may_be_written_in_any_way(tmp_path: Path) -> None:
    text = "\ufeffmodel,0,1,2,3,4\nred, 1.0 ,true,False,0e0,1.00\n\n"
    assert read_responses(write(tmp_path, text)).matrix.tolist() == [[1.0, 1.0, 0.0, 0.0, 1.0]]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(float)
    written = Responses(("a,b", 'quo"te', "ß", "d", "3"), (2, 5, 9, 11), matrix)
    write_responses(written, tmp_path / "x.csv")
    read = read_responses(tmp_path / "x.csv")
    assert (read.models, read.items) == (written.models, written.items)
    np.testing.assert_array_equal(read.matrix, matrix)
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 rows and 0 columns that are named by a document id, expected at least one"),
        ("model,0,1\n", "has 0 rows and 2 columns"),
        ("model,first\nred,1\n", "has 1 rows and 0 columns"),
        ("model,0,1\nred,1,0\nblue,1\n", "has 2 entries in line 3, expected 3 as in its header"),
        ("model,0,1,1\nred,1,0,0\n", "has 2 columns for item 1, expected one"),
        ("1,0,1,0\n1,0,0,0\n", "has 2 columns for item 1.* write a header of document ids over"),
        ("model,size,0\nred,7,1\n", "has columns 'model', 'size' that are no document ids"),
        ("model,0\nred,1\nred,0\n", "has 'red' in line 2 already for the model in line 3"),
        ("model,0\n,1\n", "has no name for the model in line 2"),
        (
            "model,0,1\nred,1,\n",
            r"has no entry \(empty\) in line 2, column '1', expected 0 or 1; l",
        ),
        ("model,0,1\nred,nan,1\n", r"has no entry \(nan\) in line 2, column '0'"),
        (
            "model,0,1\nred,1,0.25\n",
            "has 0.25 in line 2, column '1', expected 0 or 1; an item bank",
        ),
        ("model,0\nred,2\n", "has 2 in line 2.*passes a threshold of yours"),
        ("model,0\nred,yes\n", "has 'yes' in line 2, column '0'"),
        ('model,0\n"red,1\n', "cannot be read as a response matrix"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=rf"answers.csv {message}"):
        read_responses(write(tmp_path, text))


def test_a_missing_entry_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"model": ["red", "blue"], "0": [1, None]})
    with pytest.raises(CalibrationError, match=r"no entry \(empty\) in row 2, column '0'"):
        read_responses(path)


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "text.parquet", "bytes.csv"])
def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.parquet").write_text(GOOD)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match=rf"{name} cannot be read as a response matrix"):
        read_responses(tmp_path / name)


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    responses = Responses(("red",), (0,), np.ones((1, 1)))
    with pytest.raises(InfrastructureError, match=r"cannot write .*x.csv: No such file"):
        write_responses(responses, tmp_path / "missing" / "x.csv")
