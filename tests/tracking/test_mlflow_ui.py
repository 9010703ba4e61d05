"""The MLflow UI of a run: on loopback only, with parent, children and the interactive front."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evomerge.errors import UsageError
from evomerge.run.projecting import sync_run
from evomerge.tracking.ui import mlflow_ui_command, mlflow_ui_environment
from tests.synthetic import write_run
from tests.tracking.browser import dump_dom


def test_a_run_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no mlflow.db, expected .* MLFLOW_TRACKING_URI"):
        mlflow_ui_command(tmp_path)


def test_the_ui_is_bound_to_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    command = mlflow_ui_command(tmp_path, 5055)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5055"
    assert f"sqlite:///{tmp_path}/mlflow.db" in command


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the UI of a finished run."""
    run_dir = tmp_path_factory.mktemp("run")
    write_run(run_dir, 40)
    sync_run(run_dir)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, **mlflow_ui_environment()}
    server = subprocess.Popen(mlflow_ui_command(run_dir, port), env=environment)
    try:
        yield wait_for(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_for(address: str, *, patience_s: float = 240.0) -> str:
    """The address, once it answers."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310
                assert answer.status == 200
                return address
        except OSError:
            assert time.monotonic() < deadline, "the UI did not start"
            time.sleep(0.5)


@pytest.mark.slow
def test_the_ui_shows_the_parent_its_children_and_the_front(served: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(served)
    experiment = client.get_experiment_by_name("evomerge")
    rule = "tags.`evomerge.role` = 'search'"
    (parent,) = client.search_runs([experiment.experiment_id], rule)
    page = f"{served}/#/experiments/{experiment.experiment_id}/runs/{parent.info.run_id}"
    overview, _ = dump_dom(page, tmp_path / "one", budget_ms=40_000)
    children = client.search_runs([experiment.experiment_id], "tags.`evomerge.role` = 'front'")
    assert all(child.data.tags["evomerge.candidate"] in overview for child in children)
    artifacts, _ = dump_dom(f"{page}/artifacts/front.html", tmp_path / "two", budget_ms=40_000)
    assert "mlflow-html-iframe" in artifacts


@pytest.mark.slow
def test_the_ui_refuses_strangers(served: str) -> None:
    request = urllib.request.Request(f"{served}/", headers={"Host": "evil.example"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)  # noqa: S310
