"""The main job end to end on tiny real models, in this process."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evomerge.errors import ModelError, RunLockedError, ScoringError, UsageError
from evomerge.journal.events import Asked, Finished, Lost, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.journal.lock import RunLock
from evomerge.records import Failure, ItemScores
from evomerge.run.directory import read_run
from evomerge.run.reading import front_json, status_of
from evomerge.run.start import resume_run, run_experiment
from evomerge.scoring.scorer import Scorer
from tests.experiment import write_experiment
from tests.tiny import TinyZoo


def story(run_dir: Path) -> list[object]:
    """Everything that must not depend on when and where it happened."""
    with Journal.open(run_dir / "journal.db", read_only=True) as journal:
        events = list(journal.replay())
    asked_and_told = [
        (type(event).__name__, event.number, event.candidate_id)
        for event in events
        if isinstance(event, Asked | Told)
    ]
    scores = [
        (event.scores.candidate_id, event.scores.phase, event.scores.tasks)
        for event in events
        if isinstance(event, Scored)
    ]
    return [*asked_and_told, *scores]


def checksums(zoo: TinyZoo) -> dict[Path, str]:
    folders = (zoo.base, *zoo.experts.values(), zoo.tasks_path)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run_ends_with_a_front_beside_its_baselines(
    tmp_path: Path, tiny_zoo: TinyZoo, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checksums(tiny_zoo)
    config = write_experiment(tmp_path, tiny_zoo)
    assert run_experiment(config, (), tmp_path / "run") == 0
    printed = capsys.readouterr().out

    front = front_json(tmp_path / "run")
    assert set(front["baselines"]) == {"base", "red", "blue", "uniform", "default"}
    assert front["front"]
    for member in [*front["front"], *front["baselines"].values()]:
        assert set(member["objectives"]) == set(member["test"]) == {"words_search", "choice_search"}
        assert all(estimate["n"] == 12 for estimate in member["objectives"].values())
        assert all(estimate["n"] > 12 for estimate in member["test"].values())
    assert json.loads((tmp_path / "run/front.json").read_text()) == front
    assert front["front"][0]["id"] in printed
    for command in ("front", "export"):
        assert f"evomerge {command} {tmp_path}/run" in printed
    status = status_of(tmp_path / "run")
    assert (status["state"], status["n_done"], status["n_failed"]) == ("finished", 20, 0)
    assert checksums(tiny_zoo) == before


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 8])
def test_two_runs_of_a_seed_are_the_same(tmp_path: Path, tiny_zoo: TinyZoo, window: int) -> None:
    config = write_experiment(tmp_path, tiny_zoo, window=window)
    first, second = tmp_path / "here" / "run", tmp_path / "there" / "run"  # nothing kept in common
    for run_dir in (first, second):
        assert run_experiment(config, (), run_dir) == 0
    assert story(first) == story(second)
    assert front_json(first) == front_json(second)


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=8)
    run_experiment(config, (), tmp_path / "first")
    run_experiment(config, ("seed=1",), tmp_path / "second")
    assert story(tmp_path / "first") != story(tmp_path / "second")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties"])
def test_every_method_can_be_searched(tmp_path: Path, tiny_zoo: TinyZoo, method: str) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6, method=method)
    assert run_experiment(config, (), tmp_path / "run") == 0
    assert status_of(tmp_path / "run")["n_failed"] == 0


@pytest.mark.slow
def test_async_mode_runs_and_may_be_limited_in_time(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=1000, mode="async")
    overrides = ("budget.wall_time_s=3",)
    assert run_experiment(config, overrides, tmp_path / "run") == 0
    status = status_of(tmp_path / "run")
    assert status["state"] == "finished"
    assert 1 <= status["n_done"] == status["n_told"] < 1000


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    run_experiment(config, (), tmp_path / "run")
    before = story(tmp_path / "run")
    assert resume_run(tmp_path / "run") == 0
    assert run_experiment(config, (), tmp_path / "run") == 0
    assert story(tmp_path / "run") == before
    with Journal.open(tmp_path / "run/journal.db", read_only=True) as journal:
        assert sum(isinstance(event, Finished) for event in journal.replay()) == 1


@pytest.mark.slow
def test_a_directory_of_another_experiment_is_refused(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    run_experiment(config, (), tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds another experiment \(seed differ\).*--out"):
        run_experiment(config, ("seed=5",), tmp_path / "run")
    red, blue = (f"{name}: {tiny_zoo.experts[name]}" for name in ("red", "blue"))
    config.write_text(config.read_text().replace(f"{red}, {blue}", f"{blue}, {red}"))
    with pytest.raises(UsageError, match=r"another experiment \(the order of the experts differ\)"):
        run_experiment(config, (), tmp_path / "run")


@pytest.mark.slow
def test_tracking_may_change_between_two_stretches(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    run_experiment(config, (), tmp_path / "run")
    assert run_experiment(config, ("tracking.mlflow=true",), tmp_path / "run") == 0


def test_an_experiment_that_is_refused_leaves_no_directory(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    with pytest.raises(UsageError, match=r"merge\.method: no method `tise`.*`ties`"):
        run_experiment(config, ("merge.method=tise",), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_second_process_is_refused_and_the_holder_named(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    (tmp_path / "run").mkdir()
    with RunLock(tmp_path / "run"), pytest.raises(RunLockedError, match=r"held by process \d+ on"):
        run_experiment(config, (), tmp_path / "run")


def test_failures_consume_budget_and_never_enter_the_front(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Scorer.score
    n_calls = 0

    def fails_sometimes(self: Scorer, task: str, items: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls > 20 and n_calls % 3 == 0:
            raise RuntimeError("out of luck")
        return score(self, task, items)

    monkeypatch.setattr(Scorer, "score", fails_sometimes)
    config = write_experiment(tmp_path, tiny_zoo)
    assert run_experiment(config, (), tmp_path / "run") == 0
    status = status_of(tmp_path / "run")
    assert status["n_done"] == 20
    assert status["failures"] == {"exception": status["n_failed"]}
    assert status["n_failed"] >= 3
    assert "RuntimeError: out of luck" in status["messages"][0]
    ids = {member["id"] for member in front_json(tmp_path / "run")["front"]}
    with Journal.open(tmp_path / "run/journal.db", read_only=True) as journal:
        failed = {
            event.result.candidate_id
            for event in journal.replay()
            if isinstance(getattr(event, "result", None), Failure)
            and event.result.phase == "search"
        }
    assert failed
    assert not ids & failed


@pytest.mark.slow
@pytest.mark.parametrize(("n_hangs", "failures"), [(1, {}), (3, {"timeout": 1})])
def test_a_candidate_that_takes_too_long_is_tried_again_and_given_up_after_three(
    tmp_path: Path,
    tiny_zoo: TinyZoo,
    monkeypatch: pytest.MonkeyPatch,
    n_hangs: int,
    failures: dict[str, int],
) -> None:
    from evomerge.merge.prepared import PreparedMerge

    materialise = PreparedMerge.materialise
    n_calls = 0

    def hangs(self: PreparedMerge, recipe: Any, into: Any) -> None:
        nonlocal n_calls
        n_calls += 1
        while 8 <= n_calls < 8 + n_hangs:
            pass
        materialise(self, recipe, into)

    monkeypatch.setattr(PreparedMerge, "materialise", hangs)
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    assert run_experiment(config, ("scoring.timeout_s=10",), tmp_path / "run") == 0
    status = status_of(tmp_path / "run")
    assert status["failures"] == failures
    assert all("took longer than 10 s" in message for message in status["messages"])
    with Journal.open(tmp_path / "run/journal.db", read_only=True) as journal:
        assert sum(isinstance(event, Lost) for event in journal.replay()) == min(n_hangs, 2)


@pytest.mark.slow
def test_a_source_that_changed_stops_a_resume(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    import shutil

    shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks")
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    overrides = (f"tasks_path={tmp_path / 'tasks'}",)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("evomerge.run.session.run_search", _interrupt)
        assert run_experiment(config, overrides, tmp_path / "run") == 143
    data = tmp_path / "tasks/words_search.jsonl"
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    with pytest.raises(ModelError, match=r"task:words_search changed since the run started"):
        resume_run(tmp_path / "run")


def _interrupt(*_arguments: object) -> None:
    """SIGTERM in the middle of the search."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt_as_in_ray(*_arguments: object) -> None:
    """The same as it leaves a call into Ray: another error, with the signal behind it."""
    try:
        _interrupt()
    except BaseException as error:
        raise SystemError("CoreWorker.wait returned a result with an exception set") from error


@pytest.mark.parametrize("interrupt", [_interrupt, _interrupt_as_in_ray])
def test_an_interrupted_run_says_how_to_continue_and_continues(
    tmp_path: Path,
    tiny_zoo: TinyZoo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interrupt: Callable[..., None],
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    with monkeypatch.context() as patch:
        patch.setattr("evomerge.run.session.run_search", interrupt)
        assert run_experiment(config, (), tmp_path / "run") == 143
    assert f"evomerge resume {tmp_path / 'run'}" in capsys.readouterr().out
    assert status_of(tmp_path / "run")["state"] == "stopped by SIGTERM"
    assert resume_run(tmp_path / "run") == 0
    assert status_of(tmp_path / "run")["state"] == "finished"


def test_there_is_nothing_to_resume_where_nothing_ran(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run"):
        resume_run(tmp_path)


@pytest.mark.slow
def test_every_job_is_handed_out_once_and_scored_on_the_items_of_the_plan(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=6)
    run_experiment(config, (), tmp_path / "run")
    state, plan = read_run(tmp_path / "run")
    assert set(state.n_attempts.values()) == {1}
    assert sum(phase == "search" for _, phase in state.n_attempts) == 5 + 6
    for (_, phase), result in state.results.items():
        assert isinstance(result, ItemScores)
        items = {task: scores.items for task, scores in result.tasks.items()}
        assert items == (plan.search_items(0) if phase == "search" else plan.items[phase])


def test_a_run_whose_baselines_all_fail_stops_before_the_search(
    tmp_path: Path, tiny_zoo: TinyZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object) -> None:
        raise RuntimeError("no such answer")

    monkeypatch.setattr(Scorer, "score", fails)
    config = write_experiment(tmp_path, tiny_zoo)
    with pytest.raises(ScoringError, match=r"every baseline failed.*RuntimeError: no such answer"):
        run_experiment(config, (), tmp_path / "run")
    assert status_of(tmp_path / "run")["n_done"] == 0


def test_a_resume_under_other_versions_is_told(
    tmp_path: Path,
    tiny_zoo: TinyZoo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=4)
    with monkeypatch.context() as patch:
        patch.setattr("evomerge.run.session.run_search", _interrupt)
        patch.setattr("evomerge.run.start.versions", lambda: {"torch": "0.0.1"})
        assert run_experiment(config, (), tmp_path / "run") == 143
    assert resume_run(tmp_path / "run") == 0
    assert "torch was 0.0.1 when the run started and is " in capsys.readouterr().err
