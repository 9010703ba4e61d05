"""A run that is submitted to a cluster of two nodes ends on the front that it has without one."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from evomerge.run.directory import read_run
from tests.cluster.two_nodes import REPOSITORY, TwoNodes, two_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

QUICKSTART = REPOSITORY / "experiments/quickstart.yaml"
SMALL = (
    "--set",
    "budget.evaluations=20",
    "--set",
    "scoring.items=30",
    "--set",
    "tracking.mlflow=false",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes


def evomerge(cluster: TwoNodes, *words: str, **changed: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "evomerge", *words],
        env={**cluster.environment, **changed},
        capture_output=True,
        text=True,
        timeout=560,
    )


def submit(cluster: TwoNodes, run_dir: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    target = ("--address", cluster.url, "--out", str(run_dir))
    return evomerge(cluster, "submit", str(QUICKSTART), *target, *SMALL, *more)


def front(run_dir: Path) -> object:
    return json.loads((run_dir / "front.json").read_text())


def test_the_front_is_the_one_of_a_run_in_one_process(cluster: TwoNodes, tmp_path: Path) -> None:
    submitted = submit(cluster, tmp_path / "there", "--workers", "2")
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "evomerge export" in submitted.stdout  # the run's own report
    here = evomerge(cluster, "run", str(QUICKSTART), "--out", str(tmp_path / "here"), *SMALL)
    assert here.returncode == 0, here.stderr
    assert front(tmp_path / "there") == front(tmp_path / "here")
    state, plan = read_run(tmp_path / "there")
    assert (plan.experiment.address, plan.experiment.workers) == ("auto", 2)
    workers = {result.worker for result in state.results.values()}
    assert len(workers) == 2, workers


def test_a_folder_may_be_uploaded_instead(cluster: TwoNodes, tmp_path: Path) -> None:
    words = ["submit", QUICKSTART.name, "--working-dir", str(QUICKSTART.parent)]
    words += ["--address", cluster.url, "--out", str(tmp_path / "run"), *SMALL]
    few = ("--set", "budget.evaluations=2", "--set", "search.population=2")
    submitted = evomerge(cluster, *words, *few)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    _, plan = read_run(tmp_path / "run")
    assert not plan.experiment.base.is_relative_to(REPOSITORY)


def test_a_job_stopped_halfway_goes_on_when_it_is_submitted_again(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "evomerge", "submit", str(QUICKSTART), *SMALL]
    command += ["--address", cluster.url, "--out", str(run_dir)]
    with subprocess.Popen(
        command,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout
        lines = iter(following.stdout.readline, "")
        job = re.search(r"Job (\S+) on", next(lines))
        assert job
        assert any(re.search(r"run: [1-9]\d*/20", line) for line in lines)
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=60)
    assert following.returncode == 130
    assert f"logs --follow --address {cluster.url} {job[1]}" in errors
    stop = ["ray", "job", "stop", "--address", cluster.url, job[1]]
    subprocess.run(stop, env=cluster.environment, check=True, capture_output=True)
    before, _ = read_run(run_dir)
    assert before.n_done > 0
    again = submit(cluster, run_dir)
    assert again.returncode == 0, again.stdout + again.stderr
    after, _ = read_run(run_dir)
    assert after.n_done == 20
    assert after.n_duplicates == 0


def test_the_exit_code_is_that_of_the_run_on_the_cluster(cluster: TwoNodes, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/something").touch()
    refused = submit(cluster, tmp_path / "run")
    assert refused.returncode == 2
    assert "holds no run" in refused.stdout


def test_a_stranger_without_the_token_is_refused(cluster: TwoNodes, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.write_text("0" * 64)
    target = ("--address", cluster.url, "--out", str(tmp_path / "run"))
    refused = evomerge(cluster, "submit", str(QUICKSTART), *target, RAY_AUTH_TOKEN_PATH=str(other))
    assert refused.returncode == 5
    assert re.search(r"refused us: it wants the token .* ~/\.ray/auth_token", refused.stderr)


def test_doctor_finds_both_nodes_sound(cluster: TwoNodes) -> None:
    words = ("doctor", str(QUICKSTART), "--address")
    sound = evomerge(cluster, *words, cluster.url)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "Nothing is wrong." in sound.stdout
    versions = re.search(r"^python +(.+)$", sound.stdout, re.MULTILINE)
    assert versions
    assert len(versions[1].split()) == 3  # here, which is the head, and both nodes


def test_nothing_listens_beyond_loopback(cluster: TwoNodes) -> None:
    psutil = pytest.importorskip("psutil")
    ours = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("RAY_AUTH_TOKEN_PATH")
        == cluster.environment["RAY_AUTH_TOKEN_PATH"]
    ]
    listening = []
    for process in ours:
        with suppress(psutil.NoSuchProcess):  # it may have ended meanwhile
            found = process.net_connections()
            listening += [c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
