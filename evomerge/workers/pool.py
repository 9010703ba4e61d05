"""The contract between the loop and whoever evaluates candidates."""

from collections.abc import Iterator
from typing import Protocol

from evomerge.records import Job, Result


class Pool(Protocol):
    """A number of workers that take jobs and give back results, in any order.

    A failed evaluation is a result (`records.Failure`), never an exception. Every submitted job
    comes back exactly once.
    """

    def free(self) -> int:
        """How many more jobs can be submitted now."""

    def submit(self, job: Job) -> None:
        """Hand over a job; only while `free()` is positive."""

    def finished(self) -> Iterator[Result]:
        """Wait for one result, then yield all that are there; nothing when nothing is under way."""

    def close(self) -> None:
        """Give up what is under way and release the workers; calling it twice is harmless."""
