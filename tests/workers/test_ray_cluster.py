"""A Ray of our own is private, leaves our signals alone, and is gone when its driver is."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from evomerge.workers.guardian import MARK
from tests.workers.evaluators import job

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DRIVER = Path(__file__).with_name("driver.py")


@contextmanager
def driver(address: str = "-", **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def processes_of(root: int) -> list[psutil.Process]:
    """Ray's processes below this one, wherever they end up when it dies."""
    return psutil.Process(root).children(recursive=True)


def marked(process: psutil.Process) -> bool:
    try:
        return MARK in process.environ()
    except psutil.Error:
        return False


def addresses_listened_on(pids: set[int]) -> set[str]:
    """Where the processes accept connections, as `ss` tells it."""
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True)
    return {
        line.split()[3].rpartition(":")[0]
        for line in lines.stdout.splitlines()
        if pids & {int(pid) for pid in re.findall(r"pid=(\d+)", line)}
    }


def test_all_that_ray_opens_is_on_loopback(cluster: Any, ray_pool: Any) -> None:
    pool = ray_pool(workers=1)
    pool.submit(job("quick"))
    assert len(list(pool.finished())) == 1
    pids = {process.pid for process in processes_of(os.getpid())}
    found = addresses_listened_on(pids | {os.getpid()})
    assert len(pids) >= 8
    assert found
    assert all(re.fullmatch(r"127\.0\.0\.1|\[::ffff:127\.0\.0\.1\]|\[::1\]", a) for a in found)


def test_a_local_ray_has_room_for_the_workers_and_a_token_that_is_private(tmp_path: Path) -> None:
    with driver(HOME=str(tmp_path)) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["cpus"] == 8
        token = tmp_path / ".ray" / "auth_token"
        assert token.stat().st_mode & 0o777 == 0o600
        assert len(token.read_text()) == 64
        ray = [p for p in processes_of(process.pid) if marked(p)]
        assert {p.environ()["RAY_AUTH_MODE"] for p in ray} == {"token"}
        assert {p.environ()["RAY_USAGE_STATS_ENABLED"] for p in ray} == {"0"}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_driver_and_workers_in_order_and_soon(
    signum: signal.Signals, code: int
) -> None:
    with driver() as process:
        assert process.stdout is not None
        process.stdout.readline()
        below = processes_of(process.pid)
        os.killpg(process.pid, signum)  # as a terminal does
        out, err = process.communicate(timeout=10)
        assert process.returncode == code
        assert (out, err) == ("", "")
        assert not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_signal_while_ray_starts_is_heeded(tmp_path: Path) -> None:
    with driver(HOME=str(tmp_path)) as process:
        while not (tmp_path / ".ray" / "auth_token").exists():
            time.sleep(0.05)
        time.sleep(2.0)
        below = processes_of(process.pid)
        assert below
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 143
        _, left = psutil.wait_procs(below, timeout=5)
        assert not left


def test_a_killed_driver_leaves_nothing_behind() -> None:
    with driver() as process:
        assert process.stdout is not None
        process.stdout.readline()
        below = processes_of(process.pid)
        process.kill()
        _, left = psutil.wait_procs(below, timeout=10)
        assert not left


def refusal(address: str, **environment: str) -> str:
    with driver(address, **environment) as process:
        _, err = process.communicate(timeout=90)
    assert process.returncode == 1
    return err.splitlines()[-1]


def test_an_address_at_which_nobody_answers_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert re.search(r"refused: nobody answers at .*:\d+ .* head", refusal(f"127.0.0.1:{port}"))


def test_auto_without_a_cluster_says_how_to_start_one(tmp_path: Path) -> None:
    assert "start one with `ray start --head`" in refusal("auto", RAY_TMPDIR=str(tmp_path))


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head"])
def test_an_address_of_another_kind_points_to_submit(address: str) -> None:
    assert "is not host:port; to run on a cluster from a machine outside" in refusal(address)


def test_a_wrong_token_is_told_as_such(cluster: Any) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    assert "copy the head's ~/.ray/auth_token" in refusal(address, RAY_AUTH_TOKEN="f" * 64)
