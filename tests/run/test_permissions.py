"""What tasks may do is said on the command line, and nowhere else."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evomerge.cli import app
from evomerge.errors import ScoringError
from evomerge.records import PERMISSION_FLAGS, Permissions
from evomerge.run.start import resume_run, run_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

CODE_FLAG, UNSAFE_FLAG, REMOTE_FLAG = PERMISSION_FLAGS


@pytest.fixture
def config(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """An experiment of which a task names code that leaves a trace when it is imported."""
    tasks = Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))
    (tasks / "utils.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n\n\n"
        "def question(document):\n    return document['prompt']\n"
    )
    yaml = tasks / "words_search.yaml"
    yaml.write_text(yaml.read_text().replace('"{{prompt}}"', "!function utils.question"))
    path = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    path.write_text(path.read_text().replace(str(tiny_zoo.tasks_path), str(tasks)))
    return path


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, f"{result.output}{result.exception or ''}"


@pytest.mark.parametrize("command", ["run", "validate", "plan", "prepare"])
def test_code_of_a_task_runs_with_no_command_that_does_not_allow_it(
    config: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALLOW_TASK_CODE", "EVOMERGE_ALLOW_TASK_CODE", "HF_DATASETS_TRUST_REMOTE_CODE"):
        monkeypatch.setenv(name, "1")
    code, said = invoke(command, str(config))
    assert code != 0
    assert "task 'words_search' names code: !function utils.question in" in said
    assert "words_search.yaml, line 9" in said
    assert "--allow-task-code" in said
    assert not (config.parent / "ran").exists()


def test_no_file_can_allow_it(config: Path) -> None:
    code, said = invoke("validate", str(config), "--set", "allow_task_code=true")
    assert code != 0
    assert "allow_task_code" in said
    assert "names code" in said or "unknown" in said.lower()
    assert not (config.parent / "ran").exists()


def test_validating_allowed_code_does_not_run_it(config: Path) -> None:
    code, said = invoke("validate", str(config), CODE_FLAG)
    assert (code, "ok" in said) == (0, True), said
    assert not (config.parent / "ran").exists()


def test_each_problem_has_a_flag_of_its_own(config: Path) -> None:
    yaml = config.parent / "tasks/words_search.yaml"
    yaml.write_text(
        yaml.read_text().replace("dataset_kwargs:", "dataset_kwargs:\n  trust_remote_code: true")
        + "unsafe_code: true\n"
    )
    flags: list[str] = []
    for flag in (CODE_FLAG, UNSAFE_FLAG, REMOTE_FLAG):
        code, said = invoke("validate", str(config), *flags)
        assert code != 0
        assert flag in said
        flags.append(flag)
    assert invoke("validate", str(config), *flags)[0] == 0


def test_a_run_with_allowed_code_is_that_without_code(
    config: Path, tiny_zoo: TinyZoo, tmp_path: Path
) -> None:
    allowed = Permissions(task_code=True)
    assert run_experiment(config, (), tmp_path / "coded", allowed) == 0
    assert (tmp_path / "ran").exists()
    assert resume_run(tmp_path / "coded") == 0  # a finished run asks for nothing
    plain = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    assert run_experiment(plain, (), tmp_path / "plain") == 0
    fronts = [json.loads(invoke("front", str(tmp_path / name), "--json")[1]) for name in
              ("coded", "plain")]  # fmt: skip
    assert fronts[0]["front"] == fronts[1]["front"]


@pytest.mark.ray
def test_code_that_cannot_travel_to_workers_is_an_error(config: Path, tmp_path: Path) -> None:
    utils = config.parent / "tasks/utils.py"
    utils.write_text(
        "import threading\n\nLOCK = threading.Lock()\n\n\n"
        "def question(document):\n    with LOCK:\n        return document['prompt']\n"
    )
    with pytest.raises(ScoringError, match=r"cannot be sent to workers: .*inside the function"):
        run_experiment(config, ("workers=1",), tmp_path / "ray", Permissions(task_code=True))


@pytest.mark.ray
def test_code_of_a_task_runs_on_ray(config: Path, tmp_path: Path) -> None:
    allowed = Permissions(task_code=True)
    assert run_experiment(config, ("workers=1",), tmp_path / "ray", allowed) == 0
    assert run_experiment(config, (), tmp_path / "here", allowed) == 0
    fronts = [invoke("front", str(tmp_path / name), "--json")[1] for name in ("ray", "here")]
    assert json.loads(fronts[0])["front"] == json.loads(fronts[1])["front"]
