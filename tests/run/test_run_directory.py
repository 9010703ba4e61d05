"""A run's directory: made for one process, removed only while it holds nothing."""

import errno
import shutil
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.journal.events import Started
from evomerge.journal.lock import RunLock
from evomerge.run import directory, start
from evomerge.run.directory import writing
from evomerge.run.interrupt import Interrupted
from evomerge.run.start import run_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

STARTED = Started(experiment={}, digest="d", run_id="r", versions={})


def test_a_directory_in_which_nothing_started_is_removed(tmp_path: Path) -> None:
    with writing(tmp_path / "runs/new"):
        pass
    assert not (tmp_path / "runs/new").exists()


def test_a_run_survives_a_disk_that_can_no_longer_be_read(tmp_path: Path) -> None:
    with writing(tmp_path / "run") as record:
        record.append(STARTED)
        record._journal.close()  # from here on every read of it fails
    assert (tmp_path / "run/journal.db").exists()


def test_a_directory_that_another_process_locked_first_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, other = directory._make, RunLock(tmp_path / "run")

    def make_and_lose_the_race(run_dir: Path) -> bool:
        is_new = make(run_dir)
        other.__enter__()
        return is_new

    monkeypatch.setattr(directory, "_make", make_and_lose_the_race)
    with pytest.raises(RunLockedError), writing(tmp_path / "run"):
        pass
    assert (tmp_path / "run").exists()
    other.__exit__(None, None, None)


def test_a_file_in_the_directorys_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(InfrastructureError, match=r"cannot make the run directory.*--out"),
        writing(tmp_path / "run"),
    ):
        pass


def test_a_config_that_cannot_be_copied_is_told(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", refuse)
    config = write_experiment(tmp_path, tiny_zoo)
    with pytest.raises(InfrastructureError, match=r"cannot write .*config\.yaml: .*--out"):
        run_experiment(config, (), tmp_path / "run")


def test_an_interrupt_before_the_first_candidate_gives_its_exit_code(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise Interrupted(15)

    monkeypatch.setattr(start, "_start", interrupted)
    config = write_experiment(tmp_path, tiny_zoo)
    assert run_experiment(config, (), tmp_path / "run") == 143
    assert not (tmp_path / "run").exists()
