"""The pool of one worker that runs in this process: no cluster, no server, nothing to start."""

from collections import deque
from collections.abc import Iterator

from evomerge.records import Job, Result
from evomerge.workers.evaluator import Evaluator, attempt


class InProcessPool:
    """Takes one job at a time and evaluates it when its result is asked for."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._jobs: deque[Job] = deque()

    def free(self) -> int:
        """One while no job is waiting, else zero."""
        return 1 - len(self._jobs)

    def submit(self, job: Job) -> None:
        """Keep the job until `finished` is called."""
        self._jobs.append(job)

    def finished(self) -> Iterator[Result]:
        """Evaluate the waiting job, if there is one, and yield its result."""
        while self._jobs:
            yield attempt(self._evaluator, self._jobs.popleft())

    def close(self) -> None:
        """Forget the waiting job."""
        self._jobs.clear()
