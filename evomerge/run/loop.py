"""The loop: ask, journal, evaluate, journal, tell, until the budget is spent.

Killed at any line it loses nothing: what the journal holds is never evaluated again, and what it
does not hold has not been acted on.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evomerge.journal.events import Asked, Proposed, Told
from evomerge.records import Candidate, Job, Outcome
from evomerge.run.estimates import ObjectiveTasks, outcome_of
from evomerge.run.record import Record
from evomerge.search.controller import Controller, ask_rng
from evomerge.search.ordered import Step, Window
from evomerge.search.space import SearchSpace
from evomerge.workers.pool import Pool

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 1000
"""How often one number is asked before the space counts as exhausted."""


@dataclass
class Search:
    """A search in progress: what proposes, what remembers, what must be told."""

    record: Record
    controller: Controller
    space: SearchSpace
    window: Window
    objectives: tuple[ObjectiveTasks, ...]
    items: dict[str, tuple[int, ...]]
    seed: int
    on_told: Callable[[Outcome], None]
    stop_at: float | None = None
    """Moment of the monotonic clock after which nothing more is asked; async mode only."""

    def replay(self) -> None:
        """Tell the controller what it was told before, and the window what has arrived."""
        state = self.record.state
        for number in state.told_numbers:
            self.controller.tell(self._outcome(number))
        for number in state.done:
            self.window.arrive(number)

    def unfinished(self) -> list[Job]:
        """Jobs of the candidates that were asked and have no result, in the order of asking."""
        return [self._job(candidate) for candidate in self.record.state.open]

    def take_steps(self) -> list[Job]:
        """Ask and tell as far as the window allows; the jobs of the new candidates."""
        if self.stop_at is not None and time.monotonic() >= self.stop_at:
            self.window.close(self.window.n_asked)
        jobs = []
        for step in self.window.steps():
            if step.action == "ask":
                candidate = self._ask(step)
                if candidate is None:
                    self.window.close(step.number)
                else:
                    jobs.append(self._job(candidate))
            else:
                self._tell(step)
        return jobs

    def arrive(self, candidate_id: str) -> None:
        """Note that a result is there; it is told when its turn comes."""
        for number in self.record.state.numbers_of(candidate_id):
            self.window.arrive(number)

    def _ask(self, step: Step) -> Candidate | None:
        """A candidate whose recipe nobody proposed before: no merge is scored twice.

        None where the controller finds no new one, so that the search ends with what it has.
        """
        for attempt in range(MAX_ATTEMPTS):
            genome = self.controller.ask(step.number, ask_rng(self.seed, step.number, attempt))
            candidate = self.space.candidate(step.number, genome)
            if not self.record.state.knows(candidate.id):
                self.record.append(
                    Asked(step.number, attempt, candidate.id, candidate.genome, candidate.recipe)
                )
                return candidate
        log.warning(
            "%d proposals in a row were merges already scored: the search space of %d genes is "
            "exhausted after %d candidates; a smaller merge.granularity makes it larger",
            MAX_ATTEMPTS,
            self.space.n_dims,
            step.number,
        )
        return None

    def _tell(self, step: Step) -> None:
        outcome = self._outcome(step.number)
        order = len(self.record.state.told)
        self.record.append(Told(order, step.number, outcome.candidate.id))
        self.controller.tell(outcome)
        self.on_told(outcome)

    def _outcome(self, number: int) -> Outcome:
        candidate = self.record.state.candidates[number]
        result = self.record.state.results[(candidate.id, "search")]
        return outcome_of(candidate, result, self.objectives)

    def _job(self, candidate: Candidate) -> Job:
        return Job(candidate.id, candidate.recipe, self.items)


def run_search(search: Search, pool: Pool) -> None:
    """Evaluate candidates until the budget is spent and every outcome has been told."""
    waiting = deque([*search.unfinished(), *search.take_steps()])
    while not search.window.done:
        hand_out(search.record, pool, waiting)
        for result in pool.finished():
            search.record.append_result(result)
            search.arrive(result.candidate_id)
            waiting.extend(search.take_steps())


def run_jobs(record: Record, pool: Pool, jobs: Iterable[Job]) -> None:
    """Evaluate the jobs that have no result yet."""
    unique = {(job.candidate_id, job.phase): job for job in jobs}
    waiting = deque(job for key, job in unique.items() if key not in record.state.results)
    n_open = len(waiting)
    while n_open:
        hand_out(record, pool, waiting)
        for result in pool.finished():
            record.append_result(result)
            n_open -= 1


def hand_out(record: Record, pool: Pool, waiting: deque[Job]) -> None:
    """Give the pool as many jobs as it takes, each journaled first."""
    while waiting and pool.free():
        job = waiting.popleft()
        record.append(Proposed(job))
        pool.submit(job)
