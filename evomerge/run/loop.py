"""The loop: ask, journal, evaluate, journal, tell, until the budget is spent.

Killed at any line it loses nothing: what the journal holds is never evaluated again, and what it
does not hold has not been acted on.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from evomerge.journal.events import Asked, Told
from evomerge.records import Asker, Candidate, Job, Outcome
from evomerge.run.dispatch import Dispatcher
from evomerge.run.estimates import Objectives
from evomerge.run.plan import Items
from evomerge.run.record import Record
from evomerge.search.controller import Controller, ask_rng
from evomerge.search.ordered import Step, Window
from evomerge.search.space import SearchSpace

log = logging.getLogger(__name__)

MAX_ASKS = 1000
"""How often one number is asked before the space counts as exhausted."""


class Calibration(Protocol):
    """What the search needs of `run.calibration.Calibration`, which learns how to estimate."""

    def can_estimate(self, number: int) -> bool:
        """Whether the outcome of candidate `number` can be told."""

    def is_due(self) -> bool:
        """Whether what was told suffices to learn from, and nothing was learned yet."""

    def learn(self) -> None:
        """Learn, and journal what was learned."""

    def objectives(self) -> Objectives:
        """How the objectives are estimated by now."""

    def asking(self, number: int | None) -> Mapping[str, Asker]:
        """How candidate `number` is asked on after the items that it has in common with others."""


@dataclass
class Search:
    """A search in progress: what proposes, what remembers, what must be told.

    Args:
        build_controller: makes a controller that has been told nothing.
        items: the documents of each task that candidate `number` is scored on.
        calibration: what learns how to estimate from the first candidates, if the run does so.
        on_told: hears of every outcome once it is told.
        stop_at: moment of the monotonic clock after which nothing more is asked; async mode only.
    """

    record: Record
    build_controller: Callable[[], Controller]
    space: SearchSpace
    window: Window
    objectives: Objectives
    items: Callable[[int], Items]
    seed: int
    on_told: Callable[[Outcome], None]
    calibration: Calibration | None = None
    stop_at: float | None = None
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = self.build_controller()

    def replay(self) -> None:
        """Tell the controller what it was told before, and the window what has arrived."""
        if self.calibration is not None and self.calibration.is_due():
            self.calibration.learn()
        self._restate()

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
        self._arrive(self.record.state.numbers_of(candidate_id))

    def _arrive(self, numbers: Iterable[int]) -> None:
        """Hand the window the results that can be estimated; a calibration waits for its own."""
        for number in numbers:
            if self.calibration is None or self.calibration.can_estimate(number):
                self.window.arrive(number)

    def _ask(self, step: Step) -> Candidate | None:
        """A candidate whose recipe nobody proposed before: no merge is scored twice.

        None where the controller finds no new one, so that the search ends with what it has.
        """
        for attempt in range(MAX_ASKS):
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
            MAX_ASKS,
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
        if self.calibration is not None and self.calibration.is_due():
            self.calibration.learn()
            self._restate()

    def _restate(self) -> None:
        """Start from what the journal holds: all that was told is told again, as estimated now."""
        if self.calibration is not None:
            self.objectives = self.calibration.objectives()
        self.controller = self.build_controller()
        for number in self.record.state.told_numbers:
            self.controller.tell(self._outcome(number))
        self._arrive(self.record.state.done)

    def _outcome(self, number: int) -> Outcome:
        candidate = self.record.state.candidates[number]
        return self.objectives.outcome(
            candidate, self.record.state.results[(candidate.id, "search")]
        )

    def _job(self, candidate: Candidate) -> Job:
        number = candidate.number
        asking = self.calibration.asking(number) if self.calibration else {}
        return Job(candidate.id, candidate.recipe, self.items(number), asking=asking)


def run_search(search: Search, dispatcher: Dispatcher) -> None:
    """Evaluate candidates until the budget is spent and every outcome has been told."""
    dispatcher.add([*search.unfinished(), *search.take_steps()])
    while not search.window.done:
        for result in dispatcher.results():
            search.arrive(result.candidate_id)
            dispatcher.add(search.take_steps())


def run_jobs(dispatcher: Dispatcher) -> None:
    """Evaluate until no job is open."""
    while dispatcher.n_open:
        for _ in dispatcher.results():
            pass
