"""`calibrate` on a tiny experiment: from models, from a matrix, killed and gone on with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evomerge.errors import CalibrationError, ModelError, UsageError
from evomerge.irt.models import models_named
from evomerge.irt.responses import Responses, read_responses, write_responses
from evomerge.irt.trait_bank import read_trait_bank
from evomerge.journal.spool import Spool
from evomerge.records import Failure, ItemScores, Job, Recipe, Result
from evomerge.run.answering import evaluate
from evomerge.run.banks import refusals
from evomerge.run.build import load_experiment_tasks
from evomerge.run.calibrating import Wish, calibrate_tasks
from evomerge.run.calibration_text import print_calibration
from evomerge.run.fitting import Choice, write_banks
from evomerge.run.start import run_experiment
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

HERE = ("workers=0",)
QUICK = ("traits-1",)


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_zoo: TinyZoo) -> Path:
    return write_experiment(tmp_path_factory.mktemp("calibrate"), tiny_zoo, evaluations=8)


@pytest.fixture(scope="module")
def calibrated(config: Path, tmp_path_factory) -> tuple[Path, dict, list[str]]:
    """Both tasks from the five baselines and six random merges."""
    folder, notes = tmp_path_factory.mktemp("banks"), []
    wish = Wish(n_merges=6, models=("traits-1", "traits-2"))
    return folder, calibrate_tasks(config, HERE, folder, wish, notes.append), notes


def test_each_task_gets_a_bank_and_its_matrix(calibrated, config: Path) -> None:
    folder, found, _ = calibrated
    benchmarks = load_experiment_tasks(load_experiment(config))
    assert [row["task"] for row in found["banks"]] == ["words_search", "choice_search"]
    for row in found["banks"]:
        bank = read_trait_bank(folder / f"{row['task']}.bank.json")
        responses = read_responses(folder / f"{row['task']}.responses.csv")
        bank.require(benchmarks[row["task"]].digest)
        assert bank.items == responses.items == tuple(range(40))
        assert responses.models[:5] == ("base", "red", "blue", "uniform", "default")
        assert bank.n_models == len(responses.models) == row["n_models"]
        assert row["model"] in ("traits-1", "traits-2")
        assert bank.provenance["responses"] == f"{row['task']}.responses.csv"
        assert {"model:base", "model:red", "mirt", "responses_sha256"} <= bank.provenance.keys()
    assert json.loads(json.dumps(found)) == found


def test_every_model_and_every_fit_is_told(calibrated) -> None:
    _, found, notes = calibrated
    n_models = found["banks"][0]["n_models"]
    assert notes[0].startswith(f"1 of {n_models}: base, ")
    assert any(note.startswith(f"{n_models} of {n_models}: ") for note in notes)
    assert "words_search: fitting traits-2" in notes


def test_the_table_fits_a_narrow_terminal(calibrated, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_calibration(calibrated[1])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["task", "models", "items", "flagged", "model"]
    assert lines[1].split()[0] == "words_search"
    assert max(len(line) for line in lines[:3]) <= 80
    assert lines[-1].startswith("Runs use them with `estimator: irt` and `bank: /")


def test_a_second_calibration_scores_only_what_is_new(calibrated, config: Path) -> None:
    folder, first, _ = calibrated
    before = read_trait_bank(folder / "choice_search.bank.json")
    notes: list[str] = []
    again = calibrate_tasks(config, HERE, folder, Wish(n_merges=6, models=QUICK), notes.append)
    assert not any(" of " in note for note in notes)
    more = calibrate_tasks(config, HERE, folder, Wish(n_merges=8, models=QUICK), notes.append)
    assert sum(" of " in note for note in notes) == 2
    assert again["banks"][1]["n_models"] == first["banks"][1]["n_models"] == before.n_models
    assert more["banks"][1]["n_models"] == before.n_models + 2


@pytest.mark.slow
def test_a_calibration_that_was_killed_goes_on(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evomerge", "calibrate", str(config), "--out", str(tmp_path)]
    command += ["--merges", "4", "--models", "traits-1", "--set", "workers=0", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("3 of "):
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert 3 <= len(list(tmp_path.glob("answers-*/*.json"))) < 9
    assert not list(tmp_path.glob("*.bank.json"))
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(second.stdout)
    assert found["banks"][0]["n_models"] == 9
    assert sum(" of 9: " in line for line in second.stderr.splitlines()) <= 6


@pytest.mark.slow
def test_a_calibration_that_is_interrupted_says_that_it_goes_on(
    config: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "evomerge", "calibrate", str(config), "--out", str(tmp_path)]
    command += ["--merges", "60", "--models", "traits-1", "--set", "workers=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("1 of "):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "Stopped by SIGINT; the same command goes on." in rest


@pytest.mark.slow
def test_candidates_of_a_run_are_taken_with_what_they_answered(
    config: Path, tmp_path: Path
) -> None:
    """The run keeps two fifths of each task for selection: only those are scored anew."""
    settings = ("estimator=irt", "calibration=8", "selection=0.4")
    run = (*HERE, "budget.evaluations=10", *(f"scoring.{setting}" for setting in settings))
    assert run_experiment(config, run, tmp_path / "run") == 0
    notes: list[str] = []
    wish = Wish(n_merges=0, from_run=tmp_path / "run", models=QUICK)
    found = calibrate_tasks(config, HERE, tmp_path / "banks", wish, notes.append)
    assert found["banks"][0]["n_models"] >= 5 + 8
    (folder,) = (tmp_path / "banks").glob("answers-*")
    kept = [result for result in Spool(folder).collect() if isinstance(result, ItemScores)]
    sizes = [len(result.tasks["words_search"].items) for result in kept]
    assert sorted(sizes)[:8] == [16] * 8
    assert sizes.count(40) == 5
    responses = read_responses(tmp_path / "banks" / "words_search.responses.csv")
    wish = Wish(n_merges=0, models=QUICK)
    calibrate_tasks(config, HERE, tmp_path / "banks", wish, notes.append)
    alone = read_responses(tmp_path / "banks" / "words_search.responses.csv")
    np.testing.assert_array_equal(responses.matrix[:5], alone.matrix)


@pytest.mark.slow
def test_a_run_that_scored_no_candidate_on_everything_is_refused(
    config: Path, tmp_path: Path
) -> None:
    assert run_experiment(config, HERE, tmp_path / "run") == 0
    wish = Wish(n_merges=0, from_run=tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"no candidate of .* was scored on all search items of wo"
    ):
        calibrate_tasks(config, HERE, tmp_path / "banks", wish)


@pytest.mark.slow
def test_a_run_of_other_models_is_refused(config: Path, tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    assert run_experiment(config, HERE, tmp_path / "run") == 0
    wish = Wish(n_merges=0, from_run=tmp_path / "run")
    swapped = (*HERE, f"experts.red={tiny_zoo.experts['blue']}")
    with pytest.raises(ModelError, match=r"model:red of the run in .* is not what the experiment"):
        calibrate_tasks(config, swapped, tmp_path / "banks", wish)


@pytest.fixture(scope="module")
def matrix() -> Responses:
    rng = np.random.default_rng(0)
    ability, difficulty = rng.normal(size=(30, 1)), rng.normal(size=40)
    answers = (ability - difficulty + rng.logistic(size=(30, 40)) > 0).astype(float)
    return Responses(tuple(f"m{i}" for i in range(30)), tuple(range(40)), answers)


def test_a_matrix_of_ones_own_takes_the_models_place(
    config: Path, matrix: Responses, tmp_path: Path
) -> None:
    write_responses(matrix, tmp_path / "mine.csv")
    wish = Wish(("choice_search",), responses=tmp_path / "mine.csv", models=QUICK)
    found = calibrate_tasks(config, (), tmp_path / "banks", wish, lambda _: None)
    assert found["banks"][0]["n_models"] == 30
    assert not list((tmp_path / "banks").glob("answers-*"))
    bank = read_trait_bank(tmp_path / "banks" / "choice_search.bank.json")
    assert "model:base" not in bank.provenance
    np.testing.assert_array_equal(
        read_responses(tmp_path / "banks" / "choice_search.responses.csv").matrix, matrix.matrix
    )


@pytest.mark.slow
def test_a_run_takes_the_banks(config: Path, calibrated, tmp_path: Path) -> None:
    settings = ("scoring.estimator=irt", f"scoring.bank={calibrated[0]}")
    assert run_experiment(config, (*HERE, *settings), tmp_path / "run") == 0


def test_a_folder_that_an_experiment_names_may_be_empty_still(
    config: Path, matrix: Responses, tmp_path: Path
) -> None:
    write_responses(matrix, tmp_path / "mine.csv")
    wish = Wish(("choice_search",), responses=tmp_path / "mine.csv", models=QUICK)
    settings = ("scoring.estimator=irt", f"scoring.bank={tmp_path / 'banks'}")
    calibrate_tasks(config, settings, tmp_path / "banks", wish, lambda _: None)
    assert (tmp_path / "banks" / "choice_search.bank.json").exists()


@pytest.mark.parametrize(
    ("tasks", "overrides", "message"),
    [
        (("words_test",), (), "--task words_test is no search task with a metric that is right or"),
        ((), (), "a response matrix of one task, but the experiment searches by words_search, cho"),
        (("choice_search",), ("objectives.1.metric=log_likelihood",), "--task choice_search is no"),
    ],
)
def test_a_task_that_cannot_be_calibrated_is_refused(
    config: Path, tmp_path: Path, tasks, overrides, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        calibrate_tasks(config, overrides, tmp_path, Wish(tasks, responses=tmp_path / "x.csv"))


def test_a_matrix_of_more_items_than_the_task_has_is_refused(
    config: Path, matrix: Responses, tmp_path: Path
) -> None:
    write_responses(
        Responses(matrix.models, tuple(range(1, 41)), matrix.matrix), tmp_path / "x.csv"
    )
    wish = Wish(("choice_search",), responses=tmp_path / "x.csv")
    message = "column for item 40, but task choice_search has documents 0 to 39"
    with pytest.raises(CalibrationError, match=message):
        calibrate_tasks(config, (), tmp_path / "banks", wish)


def test_too_few_models_make_no_bank(config: Path, matrix: Responses, tmp_path: Path) -> None:
    few = Responses(matrix.models[:4], matrix.items, matrix.matrix[:4])
    write_responses(few, tmp_path / "few.csv")
    wish = Wish(("choice_search",), responses=tmp_path / "few.csv")
    with pytest.raises(CalibrationError, match="no bank for choice_search: 4 models answered, exp"):
        calibrate_tasks(config, (), tmp_path / "banks", wish)


def test_a_task_that_allows_no_bank_leaves_a_file_that_says_why(
    matrix: Responses, tmp_path: Path
) -> None:
    found = {"choice_search": matrix, "graded": CalibrationError("model base has 0.5 on item 0")}
    choice = Choice(models_named(QUICK), seed=0)
    provenance: dict[str, dict[str, str]] = {task: {} for task in found}
    written = write_banks(tmp_path, found, provenance, choice, lambda _: None)
    assert written["skipped"] == {"graded": "model base has 0.5 on item 0"}
    assert refusals(tmp_path) == written["skipped"]


class Losing:
    """A pool whose workers die at one candidate, as often as told."""

    def __init__(self, unlucky: str, n_deaths: int) -> None:
        self.unlucky, self.n_deaths = unlucky, n_deaths
        self.job: Job | None = None

    def free(self) -> int:
        return int(self.job is None)

    def submit(self, job: Job) -> None:
        self.job = job

    def finished(self):
        job, self.job = self.job, None
        if job is None:
            return
        if job.candidate_id == self.unlucky and self.n_deaths:
            self.n_deaths -= 1
            yield Failure(job.candidate_id, "worker_died")
        else:
            yield ItemScores(job.candidate_id, {})

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("n_deaths", "kind"), [(2, ItemScores), (3, Failure)])
def test_a_lost_worker_costs_another_try_three_times(n_deaths: int, kind: type) -> None:
    jobs = [Job(name, Recipe((), {}), {"t": (0,)}) for name in ("one", "two", "three")]
    results: list[Result] = list(evaluate(Losing("two", n_deaths), jobs))
    by_id = {result.candidate_id: result for result in results}
    assert sorted(by_id) == ["one", "three", "two"]
    assert len(results) == 3
    assert isinstance(by_id["two"], kind)
