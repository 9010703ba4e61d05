"""An exported candidate is the model that was scored, and its card says how to score it again."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from evomerge.errors import ModelError, UsageError
from evomerge.records import Estimate
from evomerge.run.directory import read_run
from evomerge.run.evaluating import evaluate_model, print_evaluation
from evomerge.run.exporting import export_candidate
from evomerge.run.reading import front_json
from evomerge.run.start import run_experiment
from evomerge.workers.worker import Worker
from tests.experiment import write_experiment
from tests.tiny import TinyZoo, write_zoo


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    """An experiment whose run lies beside it in `run`, finished."""
    folder = tmp_path_factory.mktemp("exporting")
    path = write_experiment(folder, tiny_zoo, evaluations=6, method="ties")
    assert run_experiment(path, (), folder / "run") == 0
    return path


def test_the_export_is_bit_equal_to_what_the_worker_scored(config: Path, tmp_path: Path) -> None:
    from evomerge.run.build import load_experiment_tasks, worker_spec

    run_dir = config.parent / "run"
    chosen = front_json(run_dir)["front"][0]["id"]
    export_candidate(run_dir, chosen, tmp_path / "model")
    state, plan = read_run(run_dir)
    recipe = next(c.recipe for c in state.candidates.values() if c.id == chosen)
    worker = Worker(worker_spec(plan), load_experiment_tasks(plan.experiment))
    worker.run(plan.job(recipe, "search"))

    exported = load_file(tmp_path / "model" / "model.safetensors")
    for name, tensor in exported.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor.float(), worker._model.tensors[name].float()), name
    AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")


def test_evaluating_the_export_gives_its_logged_scores(config: Path, tmp_path: Path) -> None:
    front = front_json(config.parent / "run")
    chosen = front["front"][-1]
    export_candidate(config.parent / "run", chosen["id"], tmp_path / "model")
    evaluation = evaluate_model(tmp_path / "model", config, ())
    assert evaluation["objectives"] == chosen["objectives"]
    assert evaluation["selection"] == chosen["selection"]
    assert evaluation["test"] == chosen["test"]


@pytest.mark.slow
def test_the_commands_on_the_card_reproduce_the_logged_scores(config: Path, tmp_path: Path) -> None:
    chosen = front_json(config.parent / "run")["front"][0]
    export_candidate(config.parent / "run", chosen["id"], tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    commands = re.findall(r"^lm_eval .*$", card, re.MULTILINE)
    assert len(commands) == 3
    logged = [
        {name.replace("search", "test"): score["mean"] for name, score in chosen["test"].items()},
        {name: score["mean"] for name, score in chosen["selection"].items()},
        {name: score["mean"] for name, score in chosen["objectives"].items()},
    ]
    for number, (command, expected) in enumerate(zip(commands, logged, strict=True)):
        reproduced = {}
        program = Path(sys.executable).with_name("lm_eval")
        arguments = [str(program), *shlex.split(command)[1:]]
        out = tmp_path / f"results-{number}"
        subprocess.run([*arguments, "--output_path", str(out)], check=True, cwd="/")
        (results,) = out.rglob("results_*.json")
        for task, scores in json.loads(results.read_text())["results"].items():
            reproduced[task] = scores.get("exact_match,none", scores.get("acc,none"))
        assert reproduced == pytest.approx(expected, abs=1e-12)


def test_a_candidate_may_be_named_by_its_beginning_or_by_its_role(
    config: Path, tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    chosen = front_json(config.parent / "run")["front"][0]["id"]
    export_candidate(config.parent / "run", chosen[:8], tmp_path / "short")
    assert f"candidate `{chosen}`" in (tmp_path / "short/README.md").read_text()
    export_candidate(config.parent / "run", "red", tmp_path / "red")
    expert = load_file(tiny_zoo.experts["red"] / "model.safetensors")
    exported = load_file(tmp_path / "red/model.safetensors")
    assert all(torch.equal(exported[name], tensor) for name, tensor in expert.items())


def test_an_unknown_candidate_is_refused_with_those_there_are(config: Path, tmp_path: Path) -> None:
    chosen = front_json(config.parent / "run")["front"][0]["id"]
    with pytest.raises(UsageError, match=rf"no candidates .* begin with `zzz`.*{chosen}.*uniform"):
        export_candidate(config.parent / "run", "zzz", tmp_path / "model")


def test_a_folder_that_is_taken_is_left_alone(config: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match=r"is not an empty folder"):
        export_candidate(config.parent / "run", "base", tmp_path / "model")
    assert (tmp_path / "model/mine.txt").read_text() == "keep me"


@pytest.mark.slow
def test_a_source_that_changed_is_not_exported_as_if_it_had_been_scored(tmp_path: Path) -> None:
    zoo = write_zoo(tmp_path / "zoo")
    config = write_experiment(tmp_path, zoo, evaluations=6)
    assert run_experiment(config, (), tmp_path / "run") == 0
    red, blue = (zoo.experts[name] / "model.safetensors" for name in ("red", "blue"))
    red.write_bytes(blue.read_bytes())
    with pytest.raises(ModelError, match=r"model:red changed since the run started"):
        export_candidate(tmp_path / "run", "base", tmp_path / "model")


def test_an_export_may_go_into_the_empty_folder_one_is_in(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_candidate(config.parent / "run", "uniform", Path())
    assert (tmp_path / "here/README.md").read_text().count("# here") == 1
    assert (tmp_path / "here/model.safetensors").is_file()


def test_scores_of_a_single_item_are_printed_without_a_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    single, several = Estimate.of([1.0]).to_json(), Estimate.of([1.0, 0.0]).to_json()
    found = {"objectives": {"one": single}, "selection": {}, "test": {"two": several}}
    print_evaluation({"minimised": ["two"], **found})
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["search", "one", "↑", "1.0000", "n=1"]
    assert second.split() == ["test", "two", "↓", "0.5000", "±", "0.5000", "n=2"]
