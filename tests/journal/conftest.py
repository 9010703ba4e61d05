"""A small made-up run, and disks that misbehave."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evomerge.journal.events import Asked, Event, Failed, Proposed, Scored, Started, Told
from evomerge.records import Failure, GroupRecipe, ItemScores, Recipe, TaskScores

REPOSITORY = Path(__file__).parents[2]


class Story:
    """Events of a run with two experts, each a function of the candidate's number."""

    started = Started(
        {"base": "models/base", "experts": {"math": "a", "german": "b"}, "seed": 0},
        digest="d1ge57",
        run_id="run-1",
        versions={"evomerge": "0.1.0"},
    )

    def recipe(self, number: int) -> Recipe:
        group = GroupRecipe("ta", {"coefficient": (number / 7, 0.5), "scale": 1.0})
        return Recipe(("math", "german"), {"layers.0-1": group, "head": group})

    def id(self, number: int) -> str:
        return self.recipe(number).digest

    def asked(self, number: int, attempt: int = 0) -> Asked:
        return Asked(number, attempt, self.id(number), (number / 7, 1 / 3), self.recipe(number))

    def proposed(self, number: int) -> Proposed:
        return Proposed(self.id(number))

    def scored(self, number: int, worker: str = "w0") -> Scored:
        scores = TaskScores((4, 2, 7), (number / 3, 0.1 + 0.2, 1.0))
        return Scored(ItemScores(self.id(number), {"sums": scores}, seconds=0.25, worker=worker))

    def failed(self, number: int, reason: str = "non_finite") -> Failed:
        return Failed(Failure(self.id(number), reason, "layers.0.weight is NaN"))

    def told(self, order: int, number: int) -> Told:
        return Told(order, number, self.id(number))

    def chapter(self, number: int) -> list[Event]:
        """Everything about one candidate, asked, scored and told in order."""
        return [
            self.asked(number),
            self.proposed(number),
            self.failed(number) if number % 5 == 4 else self.scored(number),
            self.told(number, number),
        ]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def environment() -> dict[str, str]:
    """What a child process needs to import the package under test."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    mount = tmp_path / "small disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("making a small disk takes the right to mount a tmpfs")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


@pytest.fixture
def write_protect() -> Iterator[Callable[[Path], None]]:
    """Makes a `small_disk` or, without root's powers, a directory read-only until the test ends."""
    protected: list[Path] = []

    def protect(directory: Path) -> None:
        if directory.is_mount():
            subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        else:
            directory.chmod(0o555)
            protected.append(directory)

    yield protect
    for directory in protected:
        directory.chmod(0o755)
