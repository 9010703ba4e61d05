"""`evomerge prepare`: statistics are collected once, and anew when what they are of changes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import ConfigError, ModelError, UsageError
from evomerge.run import preparing
from evomerge.run.build import load_experiment_tasks, make_plan, worker_spec
from evomerge.run.exporting import export_candidate
from evomerge.run.preparing import prepare_experiment, print_preparation
from evomerge.run.reading import front_json
from evomerge.run.start import resume_run, run_experiment
from evomerge.run.validate import load_experiment
from evomerge.workers.worker import Worker
from tests.experiment import write_experiment
from tests.tiny import WORDS, TinyZoo

SETTINGS = "statistics: {{texts: {texts}, n_sequences: 4, sequence_length: 16, folder: {folder}}}"


@pytest.fixture
def config(tmp_path: Path, tiny_zoo: TinyZoo) -> Path:
    """An experiment with `regmean` over the tiny zoo, with a text for each model."""
    return informed_experiment(tmp_path, tiny_zoo, "regmean")


def informed_experiment(folder: Path, zoo: TinyZoo, method: str, **values: int) -> Path:
    path = write_experiment(folder, zoo, method=method, **values)
    for shift, name in enumerate(("base", "red", "blue")):
        words = (*WORDS[9 * shift :], *WORDS[: 9 * shift])
        (folder / f"{name}.txt").write_text(f"say: {' '.join(words)}\n")
    settings = SETTINGS.format(
        texts="{base: base.txt, red: red.txt, blue: blue.txt}", folder="cache"
    )
    merge = f"merge: {{method: {method}}}"
    text = path.read_text()
    assert merge in text
    path.write_text(text.replace(merge, f"merge: {{method: {method}, {settings}}}"))
    return path


def files(config: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (config.parent / "cache").iterdir()}


def test_a_second_preparation_finds_what_the_first_collected(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = prepare_experiment(config, ())
    assert [(row["kind"], row["model"]) for row in rows] == [("grams", "red"), ("grams", "blue")]
    assert all(row["seconds"] > 0.0 for row in rows)
    before = files(config)
    again = prepare_experiment(config, ())
    assert [row["seconds"] for row in again] == [None, None]
    assert files(config) == before
    assert [row["path"] for row in again] == [row["path"] for row in rows]
    print_preparation(again)
    assert "grams of red: found, " in capsys.readouterr().out


def test_a_changed_text_or_setting_is_collected_anew(config: Path) -> None:
    prepare_experiment(config, ())
    (config.parent / "red.txt").write_text("bade figo\n" * 40)
    red, blue = prepare_experiment(config, ())
    assert red["seconds"] is not None
    assert blue["seconds"] is None
    longer = prepare_experiment(config, ["merge.statistics.sequence_length=8"])
    assert all(row["seconds"] is not None for row in longer)


def test_a_changed_model_is_collected_anew(config: Path, tiny_zoo: TinyZoo) -> None:
    prepare_experiment(config, ())
    shutil.copytree(tiny_zoo.experts["blue"], config.parent / "other")
    red, blue = prepare_experiment(config, [f"experts.red={config.parent / 'other'}"])
    assert red["seconds"] is not None
    assert blue["seconds"] is None


def test_damaged_statistics_are_collected_anew(config: Path) -> None:
    red, _ = prepare_experiment(config, ())
    whole = Path(red["path"]).read_bytes()
    Path(red["path"]).write_bytes(whole[:-7])
    red, blue = prepare_experiment(config, ())
    assert red["seconds"] is not None
    assert blue["seconds"] is None
    assert Path(red["path"]).read_bytes() == whole


def test_statistics_are_in_the_users_cache_unless_a_folder_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(config.parent / "home"))
    (row, _) = prepare_experiment(config, ["merge.statistics.folder=null"])
    assert Path(row["path"]).parent == config.parent / "home" / "evomerge" / "statistics"


def test_methods_that_need_no_statistics_prepare_nothing(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    print_preparation(prepare_experiment(write_experiment(tmp_path, tiny_zoo), ()))
    assert "need no statistics" in capsys.readouterr().out


def test_adapted_grams_are_those_of_the_expert_not_of_the_base(config: Path) -> None:
    red, blue = prepare_experiment(config, ["merge.statistics.texts.blue=red.txt"])
    ours, others = (open_tensors_of(row) for row in (red, blue))
    name = "model.layers.1.mlp.down_proj.weight"
    assert ours[name].shape == (64, 64)
    assert not torch.allclose(ours[name], others[name], rtol=0.01)


def open_tensors_of(row: dict[str, str]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(row["path"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (", blue: blue.txt", "", r"regmean needs the grams of each .* none of blue; name a file"),
        ("blue: blue.txt", "bleu: blue.txt", r"texts\.bleu: no model `bleu`; .* mean `blue`\?"),
        ("red.txt", "gone.txt", r"texts\.red: found no file .*gone\.txt; expected a text"),
        ("n_sequences: 4", "n_sequences: 0", r"n_sequences: found 0"),
        ("n_sequences", "sequences", r"statistics\.sequences: unknown key; .* mean `n_sequences`"),
    ],
)
def test_a_wrong_text_is_told_with_its_line(
    config: Path, before: str, after: str, message: str
) -> None:
    config.write_text(config.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment(config)
    assert all(f"{config}:" in problem.where for problem in caught.value.problems)


def test_a_text_without_words_is_refused(config: Path) -> None:
    (config.parent / "red.txt").write_text("")
    with pytest.raises(UsageError, match=r"red\.txt has fewer than two tokens, expected a text"):
        prepare_experiment(config, ())
    assert not (config.parent / "cache").exists()


def test_a_worker_without_statistics_says_how_to_collect_them(config: Path) -> None:
    experiment = load_experiment(config)
    benchmarks = load_experiment_tasks(experiment)
    with pytest.raises(ModelError, match=r"with the grams of red; .*`evomerge prepare CONFIG`"):
        Worker(worker_spec(make_plan(experiment, benchmarks)), benchmarks)


def test_a_preparation_that_fails_in_the_middle_goes_on_from_there(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = preparing.write_statistics

    def only_once(tensors, path):
        monkeypatch.setattr(preparing, "write_statistics", fails)
        write(tensors, path)

    def fails(tensors, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "write_statistics", only_once)
    with pytest.raises(KeyboardInterrupt):
        prepare_experiment(config, ())
    assert len(files(config)) == 1
    monkeypatch.setattr(preparing, "write_statistics", write)
    red, blue = prepare_experiment(config, ())
    assert (red["seconds"], len(files(config))) == (None, 2)
    assert blue["seconds"] is not None


# Stops for good in the middle of writing a file.
KILLED = """
import os, signal, sys
from pathlib import Path
from evomerge.checkpoint import statistics
from evomerge.run.preparing import prepare_experiment

def half(tensors, path):
    path.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)

statistics.save_file = half
prepare_experiment(Path(sys.argv[1]), ())
"""


@pytest.mark.slow
def test_a_preparation_that_is_killed_leaves_nothing_under_a_final_name(config: Path) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, str(config)], env=os.environ, check=False)
    assert child.returncode == -signal.SIGKILL
    assert [name.rpartition(".")[2] for name in files(config)] == ["partial"]
    assert all(row["seconds"] is not None for row in prepare_experiment(config, ()))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["regmean", "fisher"])
def test_a_search_collects_what_its_method_needs_and_exports_what_it_found(
    tmp_path: Path, tiny_zoo: TinyZoo, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = informed_experiment(tmp_path, tiny_zoo, method, evaluations=8)
    assert run_experiment(config, (), tmp_path / "run") == 0
    assert "of red collected in" in capsys.readouterr().err
    before = files(config)
    front = front_json(tmp_path / "run")
    best = front["front"][0]["id"]
    assert front["baselines"]["default"]["objectives"]
    export_candidate(tmp_path / "run", best, tmp_path / "merged")
    assert open_checkpoint(tmp_path / "merged").infos()
    assert resume_run(tmp_path / "run") == 0
    assert files(config) == before

    (tmp_path / "red.txt").write_text("bade figo\n" * 40)
    with pytest.raises(UsageError, match="holds another experiment"):
        run_experiment(config, (), tmp_path / "run")
