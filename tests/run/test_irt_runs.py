"""Whole runs that estimate with item banks: fitted in the run, given as files, resumed, on Ray."""

import random
import shutil
from pathlib import Path

import pytest

from evomerge.errors import CalibrationError, ConfigError, ModelError
from evomerge.irt.trait_bank import TraitBank
from evomerge.journal.events import Asked, Calibrated, Event, Scored
from evomerge.journal.journal import Journal
from evomerge.records import ItemScores
from evomerge.run.calibration import objectives_of, surveys_of
from evomerge.run.directory import read_run
from evomerge.run.forecast import forecast_of
from evomerge.run.reading import front_json
from evomerge.run.start import resume_run, run_experiment
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

IRT = ("scoring.estimator=irt", "scoring.calibration=8")
TASKS = ("words_search", "choice_search")
N_POOL, N_ASKED, WINDOW = 32, 12, 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    return write_experiment(tmp_path_factory.mktemp("irt"), tiny_zoo, evaluations=20)


@pytest.fixture(scope="module")
def calibrated(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that fitted its banks."""
    run_dir = tmp_path_factory.mktemp("irt") / "run"
    assert run_experiment(config, IRT, run_dir) == 0
    return run_dir


@pytest.fixture(scope="module")
def banks(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The banks of that run as files."""
    folder = tmp_path_factory.mktemp("banks")
    [event] = [event for event in events_of(calibrated) if isinstance(event, Calibrated)]
    for task, bank in event.banks.items():
        TraitBank.from_json(bank).write(folder / f"{task}.bank.json")
    return folder


def events_of(run_dir: Path) -> list[Event]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        return list(journal.replay())


def asked_items(run_dir: Path) -> dict[int, dict[str, tuple[int, ...]]]:
    """What every candidate of a run was asked, by number and task."""
    state, _ = read_run(run_dir)
    results = {number: state.result(c.id) for number, c in state.candidates.items()}
    return {
        number: {task: scores.items for task, scores in result.tasks.items()}
        for number, result in results.items()
        if isinstance(result, ItemScores)
    }


@pytest.mark.slow
def test_a_run_scores_its_first_candidates_on_all_items_and_chooses_for_the_others(
    calibrated: Path,
) -> None:
    asked = asked_items(calibrated)
    assert sorted(asked) == list(range(20))
    for number, tasks in asked.items():
        for items in tasks.values():
            assert len(set(items)) == len(items)
            assert len(items) == N_POOL if number < 8 else len(items) in (N_ASKED, 2 * N_ASKED)
    late = [tasks["words_search"] for number, tasks in asked.items() if number >= 8 + WINDOW - 1]
    assert len(set(late)) > 1


@pytest.mark.slow
def test_the_front_has_estimates_of_all_items_beside_the_means(calibrated: Path) -> None:
    for member in front_json(calibrated)["front"]:
        assert set(member["objectives"]) == set(member["means"]) == set(TASKS)
        for estimate in member["objectives"].values():
            assert 0.0 <= estimate["mean"] <= 1.0
            assert (estimate["se"] > 0.0) == (estimate["n"] < N_POOL)


@pytest.mark.slow
def test_with_banks_from_files_nothing_is_calibrated_in_the_run(
    config: Path, banks: Path, tmp_path: Path
) -> None:
    overrides = ("scoring.estimator=irt", f"scoring.bank={banks}", "budget.evaluations=8")
    assert run_experiment(config, overrides, tmp_path / "run") == 0
    events = events_of(tmp_path / "run")
    [place] = [k for k, event in enumerate(events) if isinstance(event, Calibrated)]
    first_score = next(k for k, event in enumerate(events) if isinstance(event, Scored))
    assert place < first_score
    assert all(
        len(items) in (N_ASKED, 2 * N_ASKED)
        for tasks in asked_items(tmp_path / "run").values()
        for items in tasks.values()
    )
    state, plan = read_run(tmp_path / "run")
    assert {f"bank:{task}" for task in TASKS} <= set(plan.fingerprints)
    for recipe in plan.baselines.values():
        result = state.result(recipe.digest)
        assert isinstance(result, ItemScores)
        survey = surveys_of(plan, state)["words_search"]
        assert survey(result.tasks["words_search"]).n == len(result.tasks["words_search"].items)


@pytest.mark.slow
def test_what_a_bank_is_not_about_is_measured_on_the_same_items_of_every_model(
    tiny_zoo: TinyZoo, tmp_path: Path
) -> None:
    """Scored on all items or on few, in any generation: else luck of the items would decide."""
    config = write_experiment(tmp_path, tiny_zoo, evaluations=20)
    text = config.read_text().replace(
        "objectives:\n", "objectives:\n  - {task: words_search, metric: output_length}\n"
    )
    config.write_text(text)
    assert run_experiment(config, IRT, tmp_path / "run") == 0
    state, plan = read_run(tmp_path / "run")
    objectives = objectives_of(plan, state)
    shared = set(plan.order("words_search", 0)[: plan.n_common])
    results = [state.result(candidate.id) for candidate in state.candidates.values()]
    for result in results:
        assert isinstance(result, ItemScores)
        scores = result.tasks["words_search:output_length"]
        estimate = objectives.estimates(result)["words_search.output_length"]
        values = [v for item, v in zip(scores.items, scores.values, strict=True) if item in shared]
        assert shared <= set(scores.items)
        assert estimate.mean == pytest.approx(sum(values) / len(shared))
        assert estimate.n == len(shared)
    assert plan.order("choice_search", 3) != plan.order("choice_search", 0)


@pytest.mark.slow
def test_a_forecast_with_banks_counts_no_candidates_on_all_items(config: Path, banks: Path) -> None:
    work = forecast_of(config, ("scoring.estimator=irt", f"scoring.bank={banks}")).work
    n_models = {kind: own.n_models.expected for kind, own in work.items()}
    assert (n_models["calibration"], n_models["search"]) == (0, 20)
    assert work["baselines"].n_items == work["search"].n_items == N_ASKED * len(TASKS)


@pytest.mark.slow
def test_other_banks_make_another_run(config: Path, banks: Path, tmp_path: Path) -> None:
    overrides = ("scoring.estimator=irt", f"scoring.bank={tmp_path}", "budget.evaluations=8")
    for path in banks.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert run_experiment(config, overrides, tmp_path / "run") == 0
    text = (tmp_path / "words_search.bank.json").read_text()
    (tmp_path / "words_search.bank.json").write_text(text.replace('"n_models": ', '"n_models": 1'))
    with pytest.raises(ModelError, match="bank:words_search changed since the run started"):
        resume_unfinished(tmp_path / "run")


def resume_unfinished(run_dir: Path) -> None:
    """Resume a run as it was before it finished."""
    events = events_of(run_dir)[:-1]
    (run_dir / "journal.db").unlink()
    with Journal.create(run_dir / "journal.db") as journal:
        journal.append(*events)
    resume_run(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_cut_off_anywhere_and_resumed_it_ends_on_the_same_front(
    config: Path, calibrated: Path, tmp_path: Path, seed: int
) -> None:
    events = events_of(calibrated)
    learned = next(k for k, event in enumerate(events) if isinstance(event, Calibrated))
    cut = random.Random(seed).randrange(learned - 2, len(events) - 20)  # noqa: S311 - test data
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "experiment.yaml").write_bytes(config.read_bytes())
    with Journal.create(run_dir / "journal.db") as journal:
        journal.append(*events[:cut])
    assert resume_run(run_dir) == 0
    assert asked_items(run_dir) == asked_items(calibrated)
    assert front_json(run_dir)["front"] == front_json(calibrated)["front"]


@pytest.mark.slow
@pytest.mark.ray
def test_on_ray_workers_the_same_items_are_asked_of_the_same_candidates(
    config: Path, calibrated: Path, tmp_path: Path
) -> None:
    assert run_experiment(config, (*IRT, "workers=2"), tmp_path / "run") == 0
    assert asked_items(tmp_path / "run") == asked_items(calibrated)
    ids = [
        [event.candidate_id for event in events_of(run_dir) if isinstance(event, Asked)]
        for run_dir in (tmp_path / "run", calibrated)
    ]
    assert ids[0] == ids[1]


def problem_with(config: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(config, overrides)
    return str(caught.value)


def test_banks_that_are_missing_are_named_with_those_that_are_there(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "words_search.bank.json").write_text("{}")
    found = problem_with(config, "scoring.estimator=irt", f"scoring.bank={tmp_path}")
    assert "no item bank for choice_search, expected choice_search.bank.json" in found
    assert "it has banks for words_search: write one with `evomerge calibrate`" in found
    nothing = problem_with(config, "scoring.estimator=irt", "scoring.bank=/nowhere")
    assert "has no item bank for words_search, choice_search" in nothing
    assert "it has banks for no task" in nothing


@pytest.mark.slow
def test_a_task_that_calibration_gave_no_bank_keeps_the_mean_of_the_same_items(
    config: Path, banks: Path, tmp_path: Path
) -> None:
    shutil.copy(banks / "words_search.bank.json", tmp_path)
    (tmp_path / "choice_search.no-bank.txt").write_text("all models agree\n")
    overrides = ("scoring.estimator=irt", f"scoring.bank={tmp_path}", "budget.evaluations=8")
    assert run_experiment(config, overrides, tmp_path / "run") == 0
    state, _ = read_run(tmp_path / "run")
    why = "task choice_search keeps the mean of its items: all models agree"
    assert state.calibrated.notes["choice_search"] == why
    assert [*state.calibrated.banks] == ["words_search"]
    [asked] = {items["choice_search"] for items in asked_items(tmp_path / "run").values()}
    assert len(asked) == N_ASKED


def test_banks_without_an_estimator_that_uses_them_are_pointed_out(
    config: Path, tmp_path: Path
) -> None:
    found = problem_with(config, f"scoring.bank={tmp_path}")
    assert "which `estimator: mean` has no use for; set `estimator: irt`, or leave it out" in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"task": "words_search"', '"task": "other"'), "is the item bank of task other, expected"),
        (('"fingerprint": "', '"fingerprint": "f00'), "was fitted to items with fingerprint f00"),
        (('"slopes": [', '"slops": ['), "an item bank cannot be read"),
    ],
)
def test_banks_of_other_tasks_or_items_are_refused(
    config: Path, banks: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    for path in banks.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace(*change))
    overrides = ("scoring.estimator=irt", f"scoring.bank={tmp_path}")
    with pytest.raises(CalibrationError, match=message):
        run_experiment(config, overrides, tmp_path / "run")
