"""How much a run puts on disk: the journal, the pages of its front, an exported model."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evomerge.checkpoint.adapter import open_stored
from evomerge.journal import codec
from evomerge.journal.events import Asked, Event, Proposed, Scored, Told
from evomerge.records import ItemScores, TaskScores
from evomerge.run.plan import Items, Plan

ROW_BYTES = 220
"""What SQLite and the chain of digests add to an event: key, digest, index, half-full pages."""

PAGES_BYTES = 6_000_000
"""The interactive front with plotly inside, its picture and its table."""

MLFLOW_BYTES = PAGES_BYTES + 1_500_000
"""The same as artifacts of an MLflow run, and the database in the run directory."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk.

    Args:
        journal_per_evaluation: one candidate from the ask to the tell.
        run_dir: the run directory at the end.
        exported_model: one exported candidate; a search itself writes no model.
        sources: base and experts, as they lie there.
    """

    journal_per_evaluation: int
    run_dir: int
    exported_model: int
    sources: int


def sizes_of(plan: Plan, n_selected: float, n_tested: float) -> Sizes:
    """What a run leaves on disk that scores so many models again, and tests so many in the end."""
    experiment = plan.experiment
    n_full = min(plan.n_calibration, experiment.budget.evaluations)
    per_candidate, per_full, per_selected, per_test = (
        sum(map(_stored_bytes, _events(plan, items)))
        for items in (
            plan.sample_items(),
            plan.sorted_items("search"),
            plan.items["selection"],
            plan.items["test"],
        )
    )
    journal = (
        per_candidate * (experiment.budget.evaluations - n_full)
        + per_full * n_full
        + math.ceil(per_selected * n_selected + per_test * n_tested)
    )
    fixed = PAGES_BYTES + (MLFLOW_BYTES if experiment.tracking.mlflow else 0)
    models = [_weights_bytes(path) for path in (experiment.base, *experiment.experts.values())]
    return Sizes(per_candidate, journal + fixed, models[0], sum(models))


def _events(plan: Plan, items: Items) -> tuple[Event, ...]:
    """The events of one candidate, whose answers are all right."""
    candidate = plan.space.candidate(0, np.full(plan.space.n_dims, 1 / 3))
    tasks = {task: TaskScores(own, (1.0,) * len(own)) for task, own in items.items()}
    scores = ItemScores(candidate.id, tasks, seconds=1 / 3, worker="worker.example.org:12345")
    return (
        Asked(0, 0, candidate.id, candidate.genome, candidate.recipe),
        Proposed(candidate.id),
        Scored(scores),
        Told(0, 0, candidate.id),
    )


def _stored_bytes(event: Event) -> int:
    return len(codec.encode(event)) + ROW_BYTES


def _weights_bytes(folder: Path) -> int:
    infos = open_stored(folder).infos().values()
    return sum(math.prod(info.shape) * info.dtype.itemsize for info in infos)
