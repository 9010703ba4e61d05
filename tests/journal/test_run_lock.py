"""One process at a time in a run directory."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.journal.lock import HOLDER_NAME, RunLock, held_by, read_holder

CONTENDER = """
import sys
from pathlib import Path
from evomerge.errors import RunLockedError
from evomerge.journal.lock import RunLock

print("ready", flush=True)
for _ in sys.stdin:
    try:
        with RunLock(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.readline()
    except RunLockedError:
        print("refused", flush=True)
        sys.stdin.readline()
    print("free", flush=True)
"""


class Contender:
    """A process that tries to hold a directory when told, until told to let go."""

    def __init__(self, run_dir: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(run_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def contender(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[[], Contender]]:
    """Starts processes that contend for `tmp_path`; each has said that it is ready."""
    running: list[Contender] = []

    def start() -> Contender:
        running.append(Contender(tmp_path, environment))
        assert running[-1].hear() == "ready"
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture
def holder(contender: Callable[[], Contender]) -> Contender:
    """A process that holds `tmp_path`."""
    process = contender()
    process.go()
    assert process.hear() == "held"
    return process


def test_a_held_directory_is_refused_naming_the_holder(tmp_path: Path, holder: Contender) -> None:
    since = read_holder(tmp_path).since
    expected = f"held by process {holder.pid} on {socket.gethostname()}, since {since}"
    with pytest.raises(RunLockedError) as refusal, RunLock(tmp_path):
        pytest.fail("two holders")
    assert expected in str(refusal.value)


def test_of_two_that_try_at_once_one_holds_the_directory(
    contender: Callable[[], Contender],
) -> None:
    pair = [contender(), contender()]
    for _ in range(10):
        for one in pair:
            one.go()
        assert sorted(one.hear() for one in pair) == ["held", "refused"]
        for one in pair:
            one.go()
        assert [one.hear() for one in pair] == ["free", "free"]


def test_a_killed_holder_lets_go(tmp_path: Path, holder: Contender) -> None:
    holder.kill()
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
    tmp_path: Path, holder: Contender
) -> None:
    assert held_by(tmp_path).pid == holder.pid
    holder.kill()
    assert read_holder(tmp_path).pid == holder.pid
    assert held_by(tmp_path) is None


def test_a_directory_that_was_never_held_has_no_holder(tmp_path: Path) -> None:
    assert held_by(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
