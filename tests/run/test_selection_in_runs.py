"""Whole runs: the search's best are scored again on fresh items, and a kill changes nothing."""

import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evomerge.errors import ScoringError
from evomerge.journal.events import Scored
from evomerge.journal.journal import Journal
from evomerge.records import ItemScores
from evomerge.run.directory import read_run
from evomerge.run.plan import Plan
from evomerge.run.reading import front_json, print_status, status_of
from evomerge.run.record import Record
from evomerge.run.start import resume_run, run_experiment
from evomerge.search.archive import non_dominated
from evomerge.workers.worker import Worker
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

OBJECTIVES = ("words_search", "choice_search")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    """An experiment whose run lies beside it in `run`, finished."""
    folder = tmp_path_factory.mktemp("selection")
    path = write_experiment(folder, tiny_zoo, evaluations=12)
    assert run_experiment(path, (), folder / "run") == 0
    return path


def means(member: Mapping[str, Any], kind: str) -> list[float]:
    return [member[kind][name]["mean"] for name in OBJECTIVES]


def results(run_dir: Path) -> dict[tuple[str, str], dict[str, Any]]:
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        scored = [event.scores for event in journal.replay() if isinstance(event, Scored)]
    return {(own.candidate_id, own.phase): dict(own.tasks) for own in scored}


def require_disjoint(plan: Plan, task: str, n_documents: int) -> None:
    sets = [plan.items[phase].get(task, ()) for phase in plan.items]
    assert sorted(item for own in sets for item in own) == list(range(n_documents))


def test_the_front_is_chosen_by_search_and_fresh_items_together(config: Path) -> None:
    run_dir = config.parent / "run"
    state, plan = read_run(run_dir)
    assert state.selected is not None
    chosen = state.selected.candidates
    front = front_json(run_dir)
    assert {member["id"] for member in front["front"]} <= set(chosen)
    for member in [*front["front"], *front["baselines"].values()]:
        assert [member["selection"][name]["n"] for name in OBJECTIVES] == [8, 8]
        assert [member["pooled"][name]["n"] for name in OBJECTIVES] == [20, 20]
    assert all(non_dominated([means(member, "pooled") for member in front["front"]]))
    best = [sum(means(member, "pooled")) for member in front["front"]]
    assert best == sorted(best, reverse=True)
    assert status_of(run_dir)["n_front"] == len(front["front"])
    assert {id_ for id_, phase in state.results if phase == "test"} == {
        *(member["id"] for member in front["front"]),
        *(recipe.digest for recipe in plan.baselines.values()),
    }
    for task in OBJECTIVES:
        require_disjoint(plan, task, 40)


def test_every_phase_scores_the_items_of_the_plan(config: Path) -> None:
    state, plan = read_run(config.parent / "run")
    for (_, phase), result in state.results.items():
        assert isinstance(result, ItemScores)
        expected = plan.search_items(0) if phase == "search" else plan.items[phase]
        assert {task: own.items for task, own in result.tasks.items()} == expected


@pytest.mark.slow
def test_killed_in_the_selection_it_ends_on_the_same_front(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append_result = Record.append_result
    n_rescored = 0

    def killed(self: Record, result: Any) -> None:
        nonlocal n_rescored
        append_result(self, result)
        n_rescored += result.phase == "selection"
        if n_rescored == 3 and result.phase == "selection":
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "append_result", killed)
        assert run_experiment(config, (), tmp_path / "run") == 143
    status = status_of(tmp_path / "run")
    assert (status["state"], status["phase"]) == ("stopped by SIGTERM", "selection")
    assert status["n_rescored"] == 3
    print_status(status)
    assert re.search(r"phase +selection", capsys.readouterr().out)
    assert len(front_json(tmp_path / "run")["front"]) > 0  # that of the search, as yet

    assert resume_run(tmp_path / "run") == 0
    assert results(tmp_path / "run") == results(config.parent / "run")
    assert front_json(tmp_path / "run") == front_json(config.parent / "run")


@pytest.mark.slow
def test_without_a_selection_the_front_is_that_of_the_search(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=8)
    assert run_experiment(config, ("scoring.selection=0",), tmp_path / "run") == 0
    state, plan = read_run(tmp_path / "run")
    assert state.selected is None
    assert plan.items["selection"] == {}
    assert {phase for _, phase in state.results} == {"search", "test"}
    front = front_json(tmp_path / "run")["front"]
    assert all(member["selection"] == {} and "pooled" not in member for member in front)
    assert all(non_dominated([means(member, "objectives") for member in front]))


@pytest.mark.slow
def test_a_candidate_that_fails_when_it_is_scored_again_leaves_the_front(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = read_run(config.parent / "run")
    assert state.selected is not None
    unlucky, run = state.selected.candidates[0], Worker.run

    def fails(self: Worker, job: Any) -> Any:
        if job.phase == "selection" and job.candidate_id == unlucky:
            raise RuntimeError("out of luck")
        return run(self, job)

    monkeypatch.setattr(Worker, "run", fails)
    assert run_experiment(config, (), tmp_path / "run") == 0
    front = front_json(tmp_path / "run")["front"]
    assert front
    assert unlucky not in {member["id"] for member in front}
    assert status_of(tmp_path / "run")["n_front"] == len(front)


@pytest.mark.slow
def test_a_task_without_a_test_keeps_items_of_its_own_for_it(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    text = config.read_text().replace(", test: words_test", "").replace(", test: choice_test", "")
    config.write_text(text)
    assert run_experiment(config, (), tmp_path / "run") == 0
    _, plan = read_run(tmp_path / "run")
    for task in OBJECTIVES:
        assert len(plan.items["test"][task]) == 10  # a quarter of forty
        require_disjoint(plan, task, 40)
    for member in front_json(tmp_path / "run")["front"]:
        assert [member["test"][name]["n"] for name in OBJECTIVES] == [10, 10]

    assert run_experiment(config, ("scoring.held_out=0",), tmp_path / "none") == 0
    assert read_run(tmp_path / "none")[1].items["test"] == {}


@pytest.mark.slow
def test_documents_of_the_test_are_left_out_of_the_search_and_it_is_said(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks")
    search, test = (tmp_path / f"tasks/words_{name}.jsonl" for name in ("search", "test"))
    known = test.read_text().splitlines()[:3]
    search.write_text("\n".join([*known, *search.read_text().splitlines()[3:]]) + "\n")
    config = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    overrides = (f"tasks_path={tmp_path / 'tasks'}", "scoring.rotation=0.5")
    assert run_experiment(config, overrides, tmp_path / "run") == 0
    _, plan = read_run(tmp_path / "run")
    asked = {*plan.items["search"]["words_search"], *plan.items["selection"]["words_search"]}
    assert asked == set(range(3, 40))
    told = capsys.readouterr().err
    assert "3 of 40 items of words_search are in a test set too" in told
    assert "means of partly different items" in told
    asked_by_generation = [plan.search_items(number)["words_search"] for number in (0, 3, 4)]
    assert asked_by_generation[0] == asked_by_generation[1]
    assert len({*asked_by_generation[0]} & {*asked_by_generation[2]}) == 6  # half of twelve


def test_a_selection_that_leaves_nothing_to_search_is_refused(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    told = r"of the 40 items of 'words_search' 1 are left.*39 for the selection.*scoring\.selection"
    with pytest.raises(ScoringError, match=told):
        run_experiment(config, ("scoring.selection=39",), tmp_path / "run")
