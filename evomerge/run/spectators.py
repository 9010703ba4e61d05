"""Who watches a run: the terminal, and MLflow where the experiment wants it."""

from collections.abc import Sequence
from pathlib import Path

from evomerge.journal.state import RunState
from evomerge.records import Progress
from evomerge.run.plan import Plan
from evomerge.tracking.live import live_view
from evomerge.tracking.mlflow_run import MlflowTracker
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import SafeTracker, Tracker


def open_trackers(
    run_dir: Path, state: RunState, plan: Plan, past: Sequence[Progress]
) -> SafeTracker:
    """The run's trackers, brought up to date with what happened before a resume."""
    trackers: list[Tracker] = []
    if plan.experiment.tracking.mlflow and state.started is not None:
        config = plan.experiment.model_dump(mode="json")
        facts = RunFacts(state.started.run_id, run_dir.name, run_dir, config)
        trackers.append(MlflowTracker(facts))
    silent = SafeTracker(trackers)
    for progress in past:
        silent.show(progress)
    return SafeTracker([live_view(run_dir.name), silent])
