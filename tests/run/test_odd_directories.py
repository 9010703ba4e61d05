"""Run directories that a hurried user gives: taken by something else, or with odd names."""

import shlex
from pathlib import Path

import pytest

from evomerge.errors import ModelError, ScoringError, UsageError
from evomerge.run.evaluating import evaluate_model
from evomerge.run.reading import print_status, status_of
from evomerge.run.start import run_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo


def test_a_directory_with_files_of_something_else_is_refused_and_kept(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    mine = tmp_path / "mine/config.yaml"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(UsageError, match=r"holds no run .* 1 other .* config\.yaml; .* --out"):
        run_experiment(config, (), mine.parent)
    assert [path.name for path in mine.parent.iterdir()] == ["config.yaml"]
    assert mine.read_text() == "precious"


def test_the_directory_of_the_experiment_file_is_refused(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo).rename(tmp_path / "config.yaml")
    with pytest.raises(UsageError, match=r"such as config\.yaml"):
        run_experiment(config, (), tmp_path)


def test_paths_with_spaces_and_brackets_are_printed_to_be_typed(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    run_dir = tmp_path / "mit Ümlaut [bold]x[/bold]"
    assert run_experiment(config, (), run_dir) == 0
    assert f"evomerge front {shlex.quote(str(run_dir))} --json" in capsys.readouterr().out
    print_status(status_of(run_dir))
    assert f"{run_dir}: finished" in capsys.readouterr().out


def test_a_time_limit_that_leaves_no_time_is_told(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, mode="async")
    with pytest.raises(ScoringError, match=r"no candidate .* budget\.wall_time_s"):
        run_experiment(config, ("budget.wall_time_s=1e-9",), tmp_path / "run")


def test_a_folder_to_evaluate_that_was_not_downloaded_is_told(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="Git LFS pointer"):
        evaluate_model(model, config, ())
