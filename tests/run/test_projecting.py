"""The process that feeds MLflow from the journal, with an MLflow that fails when it is asked to."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError, JournalError, UsageError
from evomerge.journal.journal import Journal
from evomerge.journal.lock import RunLock
from evomerge.records import Comparison, Failure, Progress
from evomerge.run import projecting, spectators
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.following import Follower
from evomerge.run.projecting import follow, sync_run
from evomerge.run.spectators import Projector
from evomerge.run.view import Spectator, comparison, history
from evomerge.tracking.cursor import Cursor, claim
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import Status
from tests.synthetic import START_S, Telling, plan, write_run


class Mlflow:
    """An MLflow in memory, behind the interface of `tracking.projection.Projection`."""

    def __init__(self) -> None:
        self.parent_id = "p" * 32
        self.n_refused = 0
        self.steps: list[int] = []
        self.fronts: list[Comparison] = []
        self.failures: Sequence[Failure] = ()
        self.status = ""
        self.facts: RunFacts | None = None

    def __call__(self, facts: RunFacts, uri: str) -> "Mlflow":
        self._may_refuse()
        self.facts = facts
        return self

    def open(self) -> None:
        self.status = "running"

    def show(self, states: Sequence[Progress]) -> None:
        self._may_refuse()
        self.steps += [state.n_done for state in states]

    def conclude(self, comparison: Comparison, failures: Sequence[Failure], time_s: float) -> None:
        self._may_refuse()
        self.fronts.append(comparison)
        self.failures = failures

    def close(self, status: Status, time_s: float) -> None:
        self.status = status

    def _may_refuse(self) -> None:
        if self.n_refused:
            self.n_refused -= 1
            raise ConnectionError("no answer from http://user:secret@server/api")


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    made = Mlflow()
    monkeypatch.setattr("evomerge.tracking.projection.Projection", made)
    monkeypatch.setattr(projecting, "POLL_S", 0.01)
    monkeypatch.setattr(projecting, "LONGEST_PAUSE_S", 0.02)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@server")
    return made


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Telling]:
    told = Telling(tmp_path / "run", 20)
    yield told
    told.journal.close()


def test_a_follower_reads_what_a_view_of_the_whole_journal_says(telling: Telling) -> None:
    with Journal.open(telling.journal.path, read_only=True) as journal:
        follower = Follower(journal, telling.plan)
        for n in (3, 0, 6):
            telling.tell(n)
            assert follower.read_on(is_held=True) is None
        state, settled = read_run(telling.run_dir)
        objectives = objectives_of(settled, state)
        whole = Spectator(state, objectives, 20)
        assert follower.progress == history(state, objectives, whole)
        assert follower.comparison() == comparison(state, objectives, settled.baselines)
        assert [failure.reason for failure in follower.failures()] == ["timeout"]


def test_how_a_run_ended_is_read_from_its_journal_and_its_lock(telling: Telling) -> None:
    with Journal.open(telling.journal.path, read_only=True) as journal:
        follower = Follower(journal, telling.plan)
        telling.tell(2)
        assert follower.read_on(is_held=False) == "failed"
        telling.stop()
        assert follower.read_on(is_held=True) == "killed"
        telling.tell(1)
        assert follower.read_on(is_held=True) is None
        telling.finish()
        assert follower.read_on(is_held=True) == "finished"


def test_a_run_that_has_not_started_has_no_facts(tmp_path: Path) -> None:
    with (
        Journal.create(tmp_path / "journal.db") as journal,
        pytest.raises(JournalError, match=r"has not started yet; wait"),
    ):
        Follower(journal, plan(1)).facts(tmp_path)


def test_a_finished_run_is_sent_whole(telling: Telling, mlflow: Mlflow) -> None:
    telling.tell(20)
    telling.finish()
    follow(telling.run_dir)
    assert mlflow.steps == list(range(1, 21))
    assert mlflow.status == "finished"
    assert mlflow.facts is not None
    assert (mlflow.facts.title, mlflow.facts.start_s) == ("run", START_S)
    cursor = Cursor.read(telling.run_dir)
    assert (cursor.n_shown, cursor.ending, cursor.trouble) == (20, "finished", "")


def test_what_mlflow_refuses_is_sent_again(
    telling: Telling, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    telling.tell(20)
    telling.stop()
    mlflow.n_refused = 3
    with caplog.at_level(logging.INFO):
        follow(telling.run_dir)
    assert mlflow.steps == list(range(1, 21))
    assert mlflow.status == "killed"
    assert caplog.text.count("takes nothing: ConnectionError: no answer") == 1
    assert "secret" not in caplog.text


def test_a_follower_gives_up_some_time_after_the_end_and_says_how_to_go_on(
    telling: Telling, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projecting, "LINGER_S", 0.1)
    telling.tell(5)
    telling.stop()
    mlflow.n_refused = 10_000
    with pytest.raises(InfrastructureError, match=r"no answer.*`evomerge sync .*run` sends the re"):
        follow(telling.run_dir)
    assert "ConnectionError" in Cursor.read(telling.run_dir).trouble
    assert "secret" not in Cursor.read(telling.run_dir).trouble


def test_a_cursor_saves_sending_again_and_a_lost_one_does_not_lose(
    telling: Telling, mlflow: Mlflow
) -> None:
    telling.tell(5)
    telling.stop()
    follow(telling.run_dir)
    telling.tell(2)
    sync_run(telling.run_dir)
    assert mlflow.steps == list(range(1, 8))
    (telling.run_dir / "mlflow.cursor.json").unlink()
    sync_run(telling.run_dir)
    assert mlflow.steps == [*range(1, 8), *range(1, 8)]


def test_another_mlflow_gets_everything(telling: Telling, mlflow: Mlflow) -> None:
    telling.tell(5)
    telling.stop()
    sync_run(telling.run_dir)
    mlflow.parent_id, mlflow.steps = "q" * 32, []
    sync_run(telling.run_dir)
    assert mlflow.steps == list(range(1, 6))


def test_a_run_that_goes_on_is_open_and_has_no_front_yet(telling: Telling, mlflow: Mlflow) -> None:
    with RunLock(telling.run_dir):
        telling.tell(5)
        sync_run(telling.run_dir)
    assert (mlflow.status, mlflow.fronts) == ("running", [])
    assert len(mlflow.steps) == 5


def test_a_run_that_died_without_a_word_has_failed(telling: Telling, mlflow: Mlflow) -> None:
    telling.tell(9)
    follow(telling.run_dir)
    assert mlflow.status == "failed"
    assert [failure.reason for failure in mlflow.failures] == ["timeout"]
    assert len(mlflow.fronts) == 1


def test_a_follower_leaves_a_resumed_run_to_the_follower_of_that_stretch(
    telling: Telling, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = iter(["first", "first", "second"])
    monkeypatch.setattr(projecting, "held_by", lambda _: next(holders))
    telling.tell(3)
    follow(telling.run_dir)
    assert len(mlflow.steps) == 3
    assert mlflow.fronts == []


def test_a_second_sync_says_who_is_at_it(
    telling: Telling, mlflow: Mlflow, capsys: pytest.CaptureFixture[str]
) -> None:
    with claim(telling.run_dir, patient=False):
        sync_run(telling.run_dir)
    assert "sends" in capsys.readouterr().out
    assert mlflow.steps == []


def test_a_sync_that_reaches_nobody_says_so(telling: Telling, mlflow: Mlflow) -> None:
    mlflow.n_refused = 1
    with pytest.raises(InfrastructureError, match=r"MLflow at http://server does not have everyth"):
        sync_run(telling.run_dir)


def test_there_is_nothing_to_send_where_nothing_ran(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        sync_run(tmp_path)


def stands_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a run start this script as its projector; it gets the run directory."""

    def start(run_dir: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", script, str(run_dir)])

    monkeypatch.setattr(spectators, "_start", start)


TROUBLE = """
import sys, time
from pathlib import Path
Path(sys.argv[1], "mlflow.cursor.json").write_text('{"trouble": "nobody answers"}')
time.sleep(60)
"""


def test_a_finished_run_does_not_wait_for_an_mlflow_in_trouble_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spectators, "PATIENCE_IN_TROUBLE_S", 0.2)
    stands_in(monkeypatch, TROUBLE)
    projector = Projector(tmp_path)
    with caplog.at_level(logging.WARNING):
        projector.close("finished")
    projector._process.kill()
    assert "lags behind (nobody answers)" in caplog.text
    assert "evomerge sync" in caplog.text


def test_a_projector_that_was_killed_is_started_again_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_in(monkeypatch, "raise SystemExit(1)")
    projector = Projector(tmp_path)
    projector._process.wait()
    ending = TROUBLE.replace('"trouble": "nobody answers"', '"ending": "finished"')
    stands_in(monkeypatch, ending.replace("time.sleep(60)", ""))
    projector.close("finished")
    assert Cursor.read(tmp_path).ending == "finished"


def test_a_log_that_cannot_be_written_does_not_stop_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settled = write_run(tmp_path / "run", 3)
    (tmp_path / "run/mlflow.log").mkdir()
    with caplog.at_level(logging.WARNING):
        spectators.open_trackers(tmp_path / "run", settled).close("killed")
    assert "did not start" in caplog.text
    assert "`evomerge sync" in caplog.text
