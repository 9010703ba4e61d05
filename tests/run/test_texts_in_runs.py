"""Whole runs whose objectives are tasks, texts and the model's size at once."""

import signal
from pathlib import Path

import pytest

from evomerge.errors import ModelError
from evomerge.run.build import load_experiment_tasks, make_plan
from evomerge.run.evaluating import evaluate_model
from evomerge.run.exporting import export_candidate
from evomerge.run.interrupt import Interrupted
from evomerge.run.loop import Search
from evomerge.run.reading import front_json, print_front, status_of
from evomerge.run.start import resume_run, run_experiment
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.texts import add_objectives, sentences, write_jsonl
from tests.tiny import TinyZoo

OBJECTIVES = (
    "text: docs.jsonl, metric: perplexity, name: wiki",
    "text: prompts.txt, metric: kl, reference: red, name: near",
    "metric: parameters",
)


def mixed(folder: Path, zoo: TinyZoo, **values: int) -> Path:
    return add_objectives(
        write_experiment(folder, zoo, **{"evaluations": 8, **values}), *OBJECTIVES
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    """A folder with an experiment and the directory `run` of its finished run."""
    folder = tmp_path_factory.mktemp("mixed")
    assert run_experiment(mixed(folder, tiny_zoo), (), folder / "run") == 0
    return folder


@pytest.mark.slow
def test_a_run_measures_tasks_texts_and_the_model(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = front_json(finished / "run")
    names = {"words_search", "choice_search", "wiki", "near", "parameters"}
    assert all(member["objectives"].keys() == names for member in front["front"])
    baselines = {name: own["objectives"] for name, own in front["baselines"].items()}
    assert baselines["red"]["near"]["mean"] < 1e-9 < 1e-4 < baselines["blue"]["near"]["mean"]
    assert all(own["parameters"]["se"] == 0.0 for own in baselines.values())
    assert len({own["parameters"]["mean"] for own in baselines.values()}) == 1
    # The models never saw a text: worse than guessing among all tokens, and not by chance.
    assert all(own["wiki"]["mean"] > 128 for own in baselines.values())
    assert all(own["wiki"]["se"] > 0.0 for own in baselines.values())
    assert status_of(finished / "run")["state"] == "finished"
    print_front(finished / "run")
    assert "near" in capsys.readouterr().out


@pytest.mark.slow
def test_a_front_member_that_is_exported_scores_what_the_run_says(
    finished: Path, tmp_path: Path
) -> None:
    member = front_json(finished / "run")["front"][0]
    export_candidate(finished / "run", member["id"], tmp_path / "model")
    found = evaluate_model(tmp_path / "model", finished / "experiment.yaml", ())
    for phase in ("objectives", "test"):
        for name, estimate in member[phase].items():
            assert found[phase][name]["mean"] == pytest.approx(estimate["mean"], abs=1e-9)


def test_where_a_text_lies_does_not_matter_and_what_it_says_does(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    def digest(config: Path, *overrides: str) -> str:
        experiment = load_experiment(config, overrides)
        return make_plan(experiment, load_experiment_tasks(experiment)).digest

    config = mixed(tmp_path, tiny_zoo)
    before = digest(config)
    (tmp_path / "docs.jsonl").rename(tmp_path / "moved.jsonl")
    assert digest(config, "objectives.2.text=moved.jsonl") == before
    write_jsonl(tmp_path / "docs.jsonl", sentences(31))
    assert digest(config) != before


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_text(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = mixed(tmp_path, tiny_zoo)

    def stop(_search: Search) -> None:
        raise Interrupted(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "take_steps", stop)
        assert run_experiment(config, (), tmp_path / "run") == 130
    write_jsonl(tmp_path / "docs.jsonl", sentences(31))
    with pytest.raises(ModelError, match="task:text:wiki changed since the run started"):
        resume_run(tmp_path / "run")


def test_what_has_no_item_bank_is_asked_the_same_items_of_every_candidate(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = mixed(tmp_path, tiny_zoo, evaluations=40)
    experiment = load_experiment(config, ("scoring.estimator=irt", "scoring.calibration=8"))
    plan = make_plan(experiment, load_experiment_tasks(experiment))
    asked = [plan.search_items(number) for number in (None, 0, 7, 12, 30)]
    for benchmark in ("text:wiki", "text:near", "model"):
        assert len({items[benchmark] for items in asked}) == 1
    assert len(asked[1]["text:wiki"]) == 12
    assert len({items["choice_search"] for items in asked}) > 1


@pytest.mark.slow
def test_a_run_with_item_banks_measures_texts_too(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = mixed(tmp_path, tiny_zoo, evaluations=16)
    banks = ("scoring.estimator=irt", "scoring.calibration=8", "scoring.items=10")
    assert run_experiment(config, banks, tmp_path / "run") == 0
    baselines = front_json(tmp_path / "run")["baselines"]
    assert baselines["red"]["objectives"]["near"]["mean"] < 1e-9
    assert status_of(tmp_path / "run")["n_failed"] == 0
