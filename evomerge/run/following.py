"""A run as its journal tells it, read on while it is written: what a projection is made from."""

from pathlib import Path

from evomerge.errors import JournalError
from evomerge.journal.events import Calibrated, Event, Told
from evomerge.journal.journal import Journal
from evomerge.journal.state import RunState
from evomerge.records import Comparison, Failure, Progress
from evomerge.run.calibration import objectives_of
from evomerge.run.plan import Plan
from evomerge.run.view import Spectator, comparison, history
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import Status


class Follower:
    """What the journal of a run says, read on from where it was read last."""

    def __init__(self, journal: Journal, plan: Plan) -> None:
        self._journal = journal
        self._plan = plan
        self._n_read = 0
        self.state = RunState()
        self.progress: list[Progress] = []
        """The state of the search after each tell, as it was estimated then."""
        self._estimate_anew()

    def read_on(self, *, is_held: bool) -> Status | None:
        """Take in the events that are new; how the run ended, if it has.

        Args:
            is_held: whether a process held the run before this was called. A run that is not held
                and said neither that it finished nor that it was stopped has failed.
        """
        for event in self._journal.replay(after=self._n_read):
            self._n_read += 1
            self._take(event)
        if self.state.finished:
            return "finished"
        if self.state.stopped:
            return "killed"
        return None if is_held else "failed"

    def comparison(self) -> Comparison:
        """The front so far beside the baselines."""
        return comparison(self.state, self._objectives, self._plan.baselines)

    def failures(self) -> list[Failure]:
        """Every evaluation that failed, in the order of the results."""
        return [result for result in self.state.results.values() if isinstance(result, Failure)]

    def facts(self, run_dir: Path) -> RunFacts:
        """What MLflow is told about the run from the start.

        Raises:
            JournalError: the run has not started yet.
        """
        started = self.state.started
        if started is None:
            raise JournalError(f"the run in {run_dir} has not started yet; wait or start it again")
        config = self._plan.experiment.model_dump(mode="json")
        return RunFacts(started.run_id, run_dir.resolve().name, run_dir, config, started.time_s)

    def _take(self, event: Event) -> None:
        self.state.add(event)
        if isinstance(event, Calibrated):
            self._estimate_anew()
        elif isinstance(event, Told):
            candidate = self.state.candidates[event.number]
            result = self.state.results[(candidate.id, "search")]
            outcome = self._objectives.outcome(candidate, result)
            self.progress.append(self._spectator.see(outcome, event.time_s))

    def _estimate_anew(self) -> None:
        """Estimate as the journal says from here on; the progress so far stays as it was told."""
        self._objectives = objectives_of(self._plan, self.state)
        n_total = self._plan.experiment.budget.evaluations
        self._spectator = Spectator(self.state, self._objectives, n_total)
        history(self.state, self._objectives, self._spectator)
