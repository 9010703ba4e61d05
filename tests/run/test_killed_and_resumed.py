"""A run that is killed again and again ends as one that never was killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evomerge.errors import JournalError
from evomerge.journal.events import Asked, Duplicate, Event, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.run.reading import front_json, status_of
from evomerge.run.start import run_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

pytestmark = pytest.mark.slow

N_EVALUATIONS = 96  # so many that ten kills find the search under way, however slow the watch
N_KILLS = 10
PATIENCE_S = 120.0


def events_of(run_dir: Path) -> list[Event]:
    """What the journal holds, read beside its writer; nothing before there is a journal."""
    try:
        with Journal.open(run_dir / "journal.db", read_only=True) as journal:
            return list(journal.replay())
    except JournalError:
        return []


def n_scored(run_dir: Path) -> int:
    events = events_of(run_dir)
    asked = {event.candidate_id for event in events if isinstance(event, Asked)}
    return sum(
        isinstance(event, Scored)
        and event.scores.phase == "search"
        and event.scores.candidate_id in asked
        for event in events
    )


@contextmanager
def evomerge(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own; gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "evomerge", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for_scores(process: subprocess.Popen[str], run_dir: Path, n_wanted: int) -> None:
    """Until the journal holds that many scored candidates, or the process is done."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and n_scored(run_dir) < n_wanted:
        assert time.monotonic() < end, f"no {n_wanted} scores after {PATIENCE_S:g} s"
        time.sleep(0.02)


def kill_once(arguments: tuple[str, ...], run_dir: Path, n_more: int) -> bool:
    """Start, wait for `n_more` further scores, kill -9; whether it landed inside the search."""
    with evomerge(*arguments) as process:
        wait_for_scores(process, run_dir, n_scored(run_dir) + n_more)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return 0 < n_scored(run_dir) < N_EVALUATIONS


def story(run_dir: Path) -> tuple[list[object], dict[str, object]]:
    events = events_of(run_dir)
    steps: list[object] = [
        (type(event).__name__, event.number, event.candidate_id)
        for event in events
        if isinstance(event, Asked | Told)
    ]
    scores = {
        f"{event.scores.phase} {event.scores.candidate_id}": event.scores.tasks
        for event in events
        if isinstance(event, Scored)
    }
    return steps, scores


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("overrides", [(), ("scoring.estimator=irt", "scoring.calibration=16")])
def test_ten_kills_change_nothing(
    tmp_path: Path, tiny_zoo: TinyZoo, overrides: tuple[str, ...]
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=N_EVALUATIONS)
    assert run_experiment(config, overrides, tmp_path / "smooth") == 0
    run_dir = tmp_path / "killed"
    sets = [word for override in overrides for word in ("--set", override)]
    commands = (("run", str(config), "--out", str(run_dir), *sets), ("resume", str(run_dir)))
    rng = random.Random(0)  # noqa: S311 - test data

    landed = sum(
        kill_once(commands[0] if kill == 0 else rng.choice(commands), run_dir, rng.randint(1, 4))
        for kill in range(N_KILLS)
    )
    with evomerge("resume", str(run_dir)) as process:
        assert process.wait() == 0

    assert landed == N_KILLS
    times = Counter(
        (event.scores.candidate_id, event.scores.phase)
        for event in events_of(run_dir)
        if isinstance(event, Scored)
    )
    assert set(times.values()) == {1}
    assert not any(isinstance(event, Duplicate) for event in events_of(run_dir))
    assert story(run_dir) == story(tmp_path / "smooth")
    assert front_json(run_dir) == front_json(tmp_path / "smooth")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_soon_and_in_order(
    tmp_path: Path, tiny_zoo: TinyZoo, signum: signal.Signals, code: int
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=N_EVALUATIONS, mlflow=True)
    run_dir = tmp_path / "run"
    with evomerge("run", str(config), "--out", str(run_dir)) as process:
        wait_for_scores(process, run_dir, 3)
        process.send_signal(signum)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == code
    assert f"evomerge resume {run_dir}" in output
    assert status_of(run_dir)["state"] == f"stopped by {signum.name}"


def test_a_second_process_is_refused_while_the_first_is_alive(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = write_experiment(tmp_path, tiny_zoo, evaluations=N_EVALUATIONS)
    run_dir = tmp_path / "run"
    with evomerge("run", str(config), "--out", str(run_dir)) as first:
        wait_for_scores(first, run_dir, 1)
        first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second has tried
        second = subprocess.run(
            [sys.executable, "-m", "evomerge", "resume", str(run_dir)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 5
        assert f"held by process {first.pid} on" in second.stderr
        assert status_of(run_dir)["state"] == "running"
