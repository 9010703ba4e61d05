"""One process at a time in a run directory."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.journal.lock import HOLDER_NAME, RunLock, held_by, read_holder

HOLD = """
import sys, time
from pathlib import Path
from evomerge.errors import RunLockedError
from evomerge.journal.lock import RunLock

try:
    with RunLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except RunLockedError as error:
    print(error, flush=True)
"""


@pytest.fixture
def start_holder(tmp_path: Path, environment: dict[str, str]):
    """Starts a process that holds `tmp_path` until its input ends."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        running.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_held_directory_is_refused_naming_the_holder(tmp_path: Path, start_holder) -> None:
    holder = start_holder()
    assert holder.stdout.readline() == "held\n"
    since = read_holder(tmp_path).since
    expected = f"held by process {holder.pid} on {socket.gethostname()}, since {since}"
    with pytest.raises(RunLockedError) as refusal, RunLock(tmp_path):
        pytest.fail("two holders")
    assert expected in str(refusal.value)


def test_of_two_that_start_at_once_one_holds_the_directory(tmp_path: Path, start_holder) -> None:
    for _ in range(10):
        pair = [start_holder(), start_holder()]
        words = [process.stdout.readline() for process in pair]
        assert sorted(word == "held\n" for word in words) == [False, True]
        for process in pair:
            process.communicate("\n")


def test_a_killed_holder_lets_go(tmp_path: Path, start_holder) -> None:
    for _ in range(3):
        holder = start_holder()
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with RunLock(tmp_path):
            assert read_holder(tmp_path).pid == os.getpid()


def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with RunLock(tmp_path):
        child.communicate(b"\n")


def test_the_directory_is_free_after_its_holder_leaves(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLock(tmp_path):
            pass
    assert read_holder(tmp_path) is None


def test_one_process_cannot_hold_a_directory_twice(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(RunLockedError, match="is held by process"):
        RunLock(tmp_path).__enter__()


def test_a_holder_without_a_readable_name_is_still_a_holder(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        (tmp_path / HOLDER_NAME).write_text(json.dumps({"who": "?"}))
        with pytest.raises(RunLockedError, match="a process that has not said its name"):
            RunLock(tmp_path).__enter__()


def test_a_directory_that_cannot_be_written_is_named(small_disk: Path, write_protect) -> None:
    write_protect(small_disk)
    with pytest.raises(InfrastructureError, match="cannot lock the run directory"):
        RunLock(small_disk).__enter__()


def test_who_holds_a_directory_can_be_asked_without_holding_it(
    tmp_path: Path, start_holder
) -> None:
    assert held_by(tmp_path) is None
    holder = start_holder()
    assert holder.stdout.readline() == "held\n"
    assert held_by(tmp_path).pid == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert read_holder(tmp_path).pid == holder.pid
    assert held_by(tmp_path) is None
