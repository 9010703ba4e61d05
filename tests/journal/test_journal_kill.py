"""kill -9 at any moment loses no event that `append` had acknowledged."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from evomerge.journal.journal import Journal

WRITER = """
import sys
from pathlib import Path
from evomerge.journal.events import Asked, Told
from evomerge.journal.journal import Journal
from evomerge.records import Recipe

with Journal.open(Path(sys.argv[1])) as journal:
    number = len(journal) // 2
    while True:
        asked = Asked(number, 0, "c0ffee", (0.5,) * 200, Recipe((), {}))
        journal.append(asked, Told(number, number, "c0ffee"))
        print(number, flush=True)
        number += 1
"""


def test_a_killed_writer_loses_nothing_that_it_had_acknowledged(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / "journal.db"
    Journal.create(path).close()
    rng = np.random.default_rng(0)
    last = -1
    for _ in range(10):
        acknowledged = write_until_killed(path, environment, seconds=rng.uniform(0.0, 0.2))
        assert acknowledged[0] > last
        last = acknowledged[-1]
        with Journal.open(path, read_only=True) as reader:
            numbers = [event.number for event in reader.replay()]
        assert numbers == [n for n in range(len(numbers) // 2) for _ in ("asked", "told")]
        assert last <= numbers[-1] <= last + 1


def write_until_killed(path: Path, environment: dict[str, str], seconds: float) -> list[int]:
    """What a writer said it had written when it was killed `seconds` after its first word."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as writer:
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
    return [int(line) for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]
