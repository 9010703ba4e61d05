"""How much of a run has reached MLflow, and the one process that sends it."""

import json
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.tracking.cursor import CURSOR_NAME, SENDER_NAME, Cursor, claim


def test_a_cursor_reads_back_as_it_was_written(tmp_path: Path) -> None:
    cursor = Cursor("a" * 32, n_shown=7, ending="killed", trouble="nobody answers")
    cursor.write(tmp_path)
    assert Cursor.read(tmp_path) == cursor


@pytest.mark.parametrize("text", ["", "{", "[]", '{"n_seen": 3}', "null"])
def test_a_cursor_that_cannot_be_read_means_to_send_everything(tmp_path: Path, text: str) -> None:
    (tmp_path / CURSOR_NAME).write_text(text)
    assert Cursor.read(tmp_path) == Cursor()
    assert Cursor.read(tmp_path / "nowhere") == Cursor()


def test_a_disk_that_refuses_the_cursor_is_no_error(tmp_path: Path) -> None:
    Cursor(n_shown=1).write(tmp_path / "nowhere")


def test_one_process_at_a_time_sends_a_run(tmp_path: Path) -> None:
    with (
        claim(tmp_path, patient=False),
        pytest.raises(RunLockedError, match=r"process \d+ on .* sends .* to MLflow already.*wait"),
        claim(tmp_path, patient=False),
    ):
        pass
    assert not (tmp_path / SENDER_NAME).exists()
    with claim(tmp_path, patient=True):
        assert json.loads((tmp_path / SENDER_NAME).read_text())["pid"]


def test_a_directory_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InfrastructureError, match=r"cannot lock .*mlflow\.lock.*local disk"),
        claim(tmp_path / "file", patient=False),
    ):
        pass
