"""A run as its journal tells it, read on while it is written: what a projection is made from."""

from functools import cached_property
from pathlib import Path

from evomerge.errors import JournalError
from evomerge.journal.events import Started, Told
from evomerge.journal.journal import Journal
from evomerge.journal.state import RunState
from evomerge.records import Comparison, Failure, Progress
from evomerge.run.estimates import outcome_of
from evomerge.run.plan import Plan
from evomerge.run.view import Spectator, comparison
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import Status


class Follower:
    """What the journal of a run says, read on from where it was read last."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._n_read = 0
        self.state = RunState()
        self.progress: list[Progress] = []
        """The state of the search after each tell."""

    def read_on(self, *, is_held: bool) -> Status | None:
        """Take in the events that are new; how the run ended, if it has.

        Args:
            is_held: whether a process held the run before this was called. A run that is not held
                and said neither that it finished nor that it was stopped has failed.
        """
        for event in self._journal.replay(after=self._n_read):
            self._n_read += 1
            self.state.add(event)
            if isinstance(event, Told):
                self.progress.append(self._see(event))
        if self.state.finished:
            return "finished"
        if self.state.stopped:
            return "killed"
        return None if is_held else "failed"

    def comparison(self) -> Comparison:
        """The front so far beside the baselines."""
        return comparison(self.state, self._plan.objectives, self._plan.baselines)

    def failures(self) -> list[Failure]:
        """Every evaluation that failed, in the order of the results."""
        return [result for result in self.state.results.values() if isinstance(result, Failure)]

    def facts(self, run_dir: Path) -> RunFacts:
        """What MLflow is told about the run from the start."""
        started = self._started
        config = self._plan.experiment.model_dump(mode="json")
        return RunFacts(started.run_id, run_dir.resolve().name, run_dir, config, started.time_s)

    def _see(self, told: Told) -> Progress:
        candidate = self.state.candidates[told.number]
        result = self.state.results[(candidate.id, "search")]
        outcome = outcome_of(candidate, result, self._plan.objectives)
        return self._spectator.see(outcome, told.time_s)

    @cached_property
    def _spectator(self) -> Spectator:
        n_total = self._plan.experiment.budget.evaluations
        return Spectator(self.state, self._plan.objectives, n_total)

    @cached_property
    def _plan(self) -> Plan:
        return Plan.from_json(self._started.experiment)

    @property
    def _started(self) -> Started:
        if self.state.started is None:
            raise JournalError("the run has not started yet; wait, or start it again")
        return self.state.started
