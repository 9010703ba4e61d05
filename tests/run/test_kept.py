"""What one run found out about the baselines, no other run in the folder finds out again."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from evomerge.journal.events import Scored
from evomerge.journal.journal import Journal
from evomerge.records import ItemScores, Recipe
from evomerge.run.build import load_experiment_tasks, make_plan
from evomerge.run.directory import FRONT_JSON
from evomerge.run.kept import FOLDER, WORKER, KeptResults
from evomerge.run.plan import Plan
from evomerge.run.start import run_experiment
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.texts import add_objectives, sentences, write_plain
from tests.tiny import TinyZoo, write_expert

WORDS = "  - {task: words_search, test: words_test}\n"
KL = "text: prompts.txt, metric: kl, reference: red, name: near"
FEW = ("budget.evaluations=4",)
N_BASELINES = 5


@pytest.fixture
def config(tmp_path: Path, tiny_zoo: TinyZoo) -> Path:
    """An experiment over a copy of the tiny zoo, which a test may change."""
    folders = {name: tmp_path / "zoo" / name for name in ("base", "red", "blue", "tasks")}
    shutil.copytree(tiny_zoo.base.parent, tmp_path / "zoo")
    zoo = TinyZoo(
        base=folders["base"],
        experts={name: folders[name] for name in ("red", "blue")},
        tasks_path=folders["tasks"],
    )
    path = write_experiment(tmp_path, zoo)
    text = path.read_text()
    assert WORDS in text
    path.write_text(text.replace(WORDS, ""))  # a task fewer is loaded in half the time
    return add_objectives(path, KL)


def scored(run_dir: Path) -> list[ItemScores]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        return [event.scores for event in journal.replay() if isinstance(event, Scored)]


def found(run_dir: Path) -> list[ItemScores]:
    """The results that another run had kept."""
    return [scores for scores in scored(run_dir) if scores.worker == WORKER]


def plan_of(config: Path, *overrides: str) -> Plan:
    experiment = load_experiment(config, overrides)
    return make_plan(experiment, load_experiment_tasks(experiment))


def complain(note: str) -> None:
    raise AssertionError(note)


def kept(config: Path, plan: Plan, note: Callable[[str], None] = complain) -> KeptResults:
    return KeptResults(config.parent / FOLDER, plan, note)


def is_found(config: Path, model: str, *overrides: str) -> bool:
    """Whether a run with these settings would find what is kept of a model."""
    plan = plan_of(config, *overrides)
    return kept(config, plan).find(plan.job(plan.baselines[model], "test")) is not None


def keep(config: Path, model: str) -> Path:
    """Keep made-up results of a model on the test items; the file."""
    plan = plan_of(config)
    job = plan.job(plan.baselines[model], "test")
    before = {*(config.parent / FOLDER).glob("*")}
    kept(config, plan).keep(job, ItemScores(job.candidate_id, {}, "test", 1.0, "somewhere"))
    (path,) = {*(config.parent / FOLDER).glob("*")} - before
    return path


@pytest.mark.slow
def test_a_second_run_scores_no_baseline_again(config: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert run_experiment(config, FEW, tmp_path / name) == 0
    assert found(tmp_path / "first") == []
    phases = [scores.phase for scores in found(tmp_path / "second")]
    assert all(phases.count(phase) == N_BASELINES for phase in ("search", "test"))

    first, second = (
        {(own.candidate_id, own.phase): own.tasks for own in scored(tmp_path / name)}
        for name in ("first", "second")
    )
    assert first == second
    fronts = [(tmp_path / name / FRONT_JSON).read_text() for name in ("first", "second")]
    assert fronts[0] == fronts[1]


def test_two_runs_at_once_keep_the_same(config: Path, tmp_path: Path) -> None:
    plan = plan_of(config)
    job = plan.job(plan.baselines["red"], "test")
    scores = ItemScores(job.candidate_id, {}, "test", 1.0, "somewhere")

    def keep_and_find(_: int) -> ItemScores | None:
        own = kept(config, plan)
        own.keep(job, scores)
        return own.find(job)

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(keep_and_find, range(40)))
    assert {(own.candidate_id, own.worker) for own in results if own} == {
        (job.candidate_id, WORKER)
    }
    assert None not in results
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


def test_a_kept_result_is_found_under_another_seed_and_beside_other_experts(config: Path) -> None:
    keep(config, "red")
    assert is_found(config, "red")
    assert is_found(config, "red", "budget.evaluations=7", "search.controller=random")
    assert not is_found(config, "blue")
    write_expert(config.parent / "zoo" / "green", config.parent / "zoo" / "base", seed=9)
    green = f"experts.green={config.parent / 'zoo' / 'green'}"
    assert is_found(config, "red", green)


def change_expert(folder: Path) -> None:
    path = folder / "zoo/red/model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1.0
    save_file(tensors, path, metadata={"format": "pt"})


def change_task(folder: Path) -> None:
    path = folder / "zoo/tasks/choice_test.jsonl"
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    documents[0]["label"] = (documents[0]["label"] + 1) % 4
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))


def drop_a_document(folder: Path) -> None:
    path = folder / "zoo/tasks/choice_test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def change_text(folder: Path) -> None:
    write_plain(folder / "prompts.txt", sentences(24, seed=5))


CHANGES: dict[str, Callable[[Path], None]] = {
    "the model": change_expert,
    "a document of a task": change_task,
    "the number of items": drop_a_document,
    "a text": change_text,
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_result_depends_on_is_part_of_its_name(config: Path, what: str) -> None:
    keep(config, "red")
    CHANGES[what](config.parent)
    assert not is_found(config, "red")


@pytest.mark.parametrize(
    "setting",
    [
        "scoring.dtype=bfloat16",
        "scoring.mode=exact",
        "objectives.0.metric=acc",
        "objectives.0.metric=acc_norm",
        "objectives.1.reference=blue",
        "scoring.batch_size=7",
    ],
)
def test_how_it_is_scored_is_part_of_its_name(config: Path, setting: str) -> None:
    keep(config, "red")
    assert not is_found(config, "red", setting)


def test_another_version_of_a_package_finds_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(config, "red")
    monkeypatch.setattr("evomerge.run.identity.version", lambda name: f"{name} of tomorrow")
    assert not is_found(config, "red")


def test_other_code_finds_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(config, "red")
    assert is_found(config, "red")
    monkeypatch.setattr("evomerge.run.identity.code_digest", lambda: "edited since")
    assert not is_found(config, "red")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def another_number(path: Path) -> None:
    path.write_text(path.read_text().replace('"seconds": 1.0', '"seconds": 2.0'))


def of_something_else(path: Path) -> None:
    path.write_text(path.read_text().replace('"mode": "packed"', '"mode": "exact"'))


def no_object(path: Path) -> None:
    path.write_text("[1]")


@pytest.mark.parametrize("damage", [cut, another_number, of_something_else, no_object])
def test_a_damaged_file_is_noted_and_written_anew(
    config: Path, damage: Callable[[Path], None]
) -> None:
    path = keep(config, "red")
    whole = path.read_text()
    damage(path)
    plan, notes = plan_of(config), list[str]()
    job = plan.job(plan.baselines["red"], "test")
    assert kept(config, plan, notes.append).find(job) is None
    assert len(notes) == 1
    assert f"{path} cannot be used" in notes[0]
    kept(config, plan).keep(job, ItemScores(job.candidate_id, {}, "test", 1.0, "somewhere"))
    assert path.read_text() == whole


def test_a_folder_that_cannot_be_written_is_noted_and_no_harm(config: Path) -> None:
    (config.parent / FOLDER).write_text("in the way")
    plan, notes = plan_of(config), list[str]()
    job = plan.job(plan.baselines["red"], "test")
    kept(config, plan, notes.append).keep(job, ItemScores(job.candidate_id, {}, "test"))
    assert "results of baselines are not kept for other runs" in notes[0]


def test_only_baselines_are_kept(config: Path) -> None:
    plan = plan_of(config)
    base = plan.baselines["base"]
    other = Recipe(base.experts, base.groups, seed=77)
    job = plan.job(other, "test")
    own = kept(config, plan)
    own.keep(job, ItemScores(job.candidate_id, {}, "test"))
    assert own.find(job) is None
    assert not (config.parent / FOLDER).exists()
