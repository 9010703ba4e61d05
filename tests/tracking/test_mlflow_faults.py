"""MLflow away, deaf, careless or killed: the search does not notice, and all arrives once."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from evomerge.journal.lock import RunLock
from evomerge.run.calibration import objectives_of
from evomerge.run.directory import read_run
from evomerge.run.projecting import sync_run
from evomerge.run.reading import comparison_of
from evomerge.run.spectators import Projector
from evomerge.run.view import Spectator, history
from evomerge.tracking.cursor import Cursor
from tests.synthetic import Telling
from tests.tracking.server import PATIENCE_S, Careless, Server

pytestmark = pytest.mark.slow

N = 60
SEEDS = iter(range(1, 1000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.kill()


@pytest.fixture
def telling(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telling]:
    """A run in progress, sent to the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    told = Telling(tmp_path / "run", N, seed=next(SEEDS))
    yield told
    told.journal.close()


@contextmanager
def projecting(run_dir: Path) -> Iterator[Projector]:
    """The run is held and has a projector; gone when the block ends."""
    with RunLock(run_dir):
        projector = Projector(run_dir)
        try:
            yield projector
        finally:
            projector._process.kill()
            projector._process.wait()


def wait_until(run_dir: Path, is_so: Callable[[Cursor], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so(Cursor.read(run_dir)):
        assert time.monotonic() < deadline, (run_dir / "mlflow.log").read_text()
        time.sleep(0.1)


def everything_is_there_once(server: Server, run_dir: Path, status: str = "FINISHED") -> None:
    """One parent with each step of each metric once, one child for each member of the front."""
    client = MlflowClient(server.address)
    state, plan = read_run(run_dir)
    assert state.started is not None
    parent, *others = runs(client, state.started.run_id, "search")
    assert others == []
    assert parent.info.status == status
    objectives = objectives_of(plan, state)
    states = history(state, objectives, Spectator(state, objectives, N))
    for metric, values in {
        "hypervolume": [each.hypervolume for each in states],
        "front_size": [each.n_front for each in states],
        "n_failed": [each.n_failed for each in states],
        "best_math_search": [each.best["math_search"] for each in states],
    }.items():
        found = client.get_metric_history(parent.info.run_id, metric)
        stored = sorted((each.step, each.value) for each in found)
        assert stored == [*enumerate(values, start=1)]
    children = runs(client, state.started.run_id, "front")
    members = [child.data.tags["evomerge.candidate"] for child in children]
    assert sorted(members) == sorted(member.id for member in comparison_of(run_dir).front)
    assert {child.info.status for child in children} == {"FINISHED"}
    for child in children:
        assert len(client.get_metric_history(child.info.run_id, "search/mean")) == 1
        assert {file.path for file in client.list_artifacts(child.info.run_id)} == {
            "recipe.json",
            "recipe.svg",
        }
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"front.html", "front.csv", "front.json", "failures.json", "config.yaml"} <= names


def runs(client: MlflowClient, run_id: str, role: str) -> list[Run]:
    experiment = client.get_experiment_by_name("evomerge").experiment_id
    rule = f"tags.`evomerge.run_id` = '{run_id}' and tags.`evomerge.role` = '{role}'"
    return [*client.search_runs([experiment], rule)]


def test_a_server_that_is_absent_then_there_then_killed_then_there_again(
    telling: Telling, server: Server
) -> None:
    server.kill()
    telling.tell(10)
    with projecting(telling.run_dir) as projector:
        wait_until(telling.run_dir, lambda cursor: cursor.trouble)
        telling.tell(10)
        server.start()
        wait_until(telling.run_dir, lambda cursor: cursor.n_shown == 20)
        telling.tell(20)
        server.kill()
        telling.tell(10)
        wait_until(telling.run_dir, lambda cursor: cursor.trouble)
        server.start()
        wait_until(telling.run_dir, lambda cursor: cursor.n_shown == 50)
        telling.tell(10)
        telling.finish()
        projector.close("finished")
    everything_is_there_once(server, telling.run_dir)


def test_a_projector_that_is_killed_again_and_again(telling: Telling, server: Server) -> None:
    server.start()
    for n_shown in (10, 20, 30):
        telling.tell(10)
        with projecting(telling.run_dir) as projector:
            wait_until(telling.run_dir, lambda cursor, n=n_shown: cursor.n_shown >= n)  # type: ignore[misc]
            telling.tell(10)
            os.kill(projector._process.pid, signal.SIGKILL)
            projector._process.wait()
    telling.finish()
    with projecting(telling.run_dir) as projector:
        time.sleep(12)  # it may be among the children by now
        os.kill(projector._process.pid, signal.SIGKILL)
    (telling.run_dir / "mlflow.cursor.json").unlink()
    sync_run(telling.run_dir)
    sync_run(telling.run_dir)
    everything_is_there_once(server, telling.run_dir)


def test_answers_that_are_lost_on_the_way(
    telling: Telling, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    careless = Careless(server, loses=0.01)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", careless.address)
    telling.tell(N)
    telling.stop()
    with projecting(telling.run_dir) as projector:
        projector._process.wait(timeout=2 * PATIENCE_S)
    careless.close()
    assert careless.n_lost
    everything_is_there_once(server, telling.run_dir, "KILLED")


def test_a_deaf_server_keeps_no_interrupted_run_and_gets_everything_when_it_hears(
    telling: Telling, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, monkeypatch.context() as away:
        uri = f"http://user:canary@127.0.0.1:{deaf.getsockname()[1]}"
        away.setenv("MLFLOW_TRACKING_URI", uri)
        telling.tell(N)
        telling.stop()
        with projecting(telling.run_dir) as projector:
            wait_until(telling.run_dir, lambda cursor: cursor.trouble)
            projector.close("killed")
            assert projector._process.poll() is None  # it goes on trying on its own
    for name in ("mlflow.log", "mlflow.cursor.json"):
        assert "canary" not in (telling.run_dir / name).read_text()
    server.start()
    sync_run(telling.run_dir)
    everything_is_there_once(server, telling.run_dir, "KILLED")
