"""MLflow in the background: the search never waits, and nothing is lost while a server is away."""

import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evomerge.records import Comparison, Progress
from evomerge.tracking import mlflow_run
from evomerge.tracking.mlflow_run import MlflowTracker
from evomerge.tracking.target import (
    RunFacts,
    local_uri,
    mlflow_environment,
    tracking_uri,
    without_credentials,
)
from evomerge.tracking.tracker import Status

STATES = [Progress(n, 0, 9, {}, 0.1 * n, 1, {}, float(n)) for n in range(1, 10)]


class Sink:
    """Remembers what reached it; refuses the first `n_refused` deliveries."""

    def __init__(self, n_refused: int = 0) -> None:
        self.steps: list[int] = []
        self.comparisons: list[Comparison] = []
        self.status: Status | None = None
        self.n_refused = n_refused
        self.refused = threading.Event()

    def show(self, states: list[Progress]) -> None:
        if self.n_refused:
            self.n_refused -= 1
            self.refused.set()
            raise ConnectionError("http://user:secret@server is away")
        self.steps += [state.n_done for state in states]

    def conclude(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)

    def close(self, status: Status) -> None:
        self.status = status


@pytest.fixture
def facts(tmp_path: Path) -> RunFacts:
    return RunFacts("run-1", "quickstart", tmp_path, {})


def test_everything_arrives_in_order(facts: RunFacts) -> None:
    sink = Sink()
    tracker = MlflowTracker(facts, lambda: sink)
    for state in STATES:
        tracker.show(state)
    tracker.conclude(Comparison((), (), {}))
    tracker.close("finished")
    assert sink.steps == list(range(1, 10))
    assert len(sink.comparisons) == 1
    assert sink.status == "finished"


def test_what_a_server_refused_is_sent_again(
    facts: RunFacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@server")
    sink = Sink(n_refused=1)
    tracker = MlflowTracker(facts, lambda: sink)
    tracker.show(STATES[0])
    assert sink.refused.wait(timeout=30)
    with caplog.at_level(logging.WARNING):
        for state in STATES[1:]:
            tracker.show(state)
        tracker.close("finished")
    assert sink.steps == list(range(1, 10))
    assert "lags behind" in caplog.text
    assert "secret" not in caplog.text


def test_a_store_that_cannot_be_opened_is_reported_once(
    facts: RunFacts, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Sink:
        raise OSError("no space left")

    tracker = MlflowTracker(facts, refuse)
    with caplog.at_level(logging.WARNING):
        for state in STATES:
            tracker.show(state)
        tracker.close("failed")
    assert len(caplog.records) == 1
    assert "no space left" in caplog.text
    assert "its journal is complete" in caplog.text


def test_a_store_that_hangs_does_not_keep_the_search(
    facts: RunFacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def hang() -> Sink:
        released.wait()
        return Sink()

    monkeypatch.setitem(mlflow_run._PATIENCE_S, "killed", 0.1)
    tracker = MlflowTracker(facts, hang)
    tracker.show(STATES[0])
    tracker.close("killed")
    released.set()
    assert "did not answer in time" in caplog.text


def test_a_run_without_events_opens_nothing(facts: RunFacts) -> None:
    def never() -> Sink:
        raise AssertionError("opened")

    MlflowTracker(facts, never).close("finished")


def test_the_database_is_in_the_run_directory_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == local_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:5000"


def test_a_shown_address_has_no_password() -> None:
    assert without_credentials("https://me:pw@host:1/x") == "https://host:1/x"
    assert without_credentials("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_the_users_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    settings = mlflow_environment()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in settings
    assert settings["MLFLOW_DISABLE_TELEMETRY"] == "true"


SESSION = """
import sys
from pathlib import Path
from evomerge.records import Progress
from evomerge.tracking.mlflow_run import MlflowTracker
from evomerge.tracking.target import RunFacts
tracker = MlflowTracker(RunFacts("run-1", "quickstart", Path(sys.argv[1]), {"seed": 0}))
tracker.show(Progress(1, 0, 2, {"a": 0.5}, 0.5, 1, {}, 1.0))
tracker.close(sys.argv[2])
assert "mlflow" in sys.modules
"""


def session(run_dir: Path, status: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own that tracks one evaluation."""
    return subprocess.run(
        [sys.executable, "-c", SESSION, str(run_dir), status],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.mark.slow
def test_a_tracked_session_is_silent(tmp_path: Path) -> None:
    done = session(tmp_path, "finished")
    assert done.stdout == ""
    assert done.stderr == ""
    assert (tmp_path / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir() if "mlruns" in path.name] == []


@pytest.mark.slow
def test_a_process_ends_although_its_server_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done = session(tmp_path, "killed", MLFLOW_TRACKING_URI=uri)
    assert "lags behind" in done.stderr
    assert done.stdout == ""
