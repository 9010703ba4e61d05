"""`evaluate`: score any model folder on the items of an experiment, as a worker would."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.records import NO_CODE, ItemScores, Permissions, Phase
from evomerge.run.build import load_experiment_tasks, make_plan, worker_spec
from evomerge.run.estimates import Objectives
from evomerge.run.plan import Items, Plan
from evomerge.run.validate import load_experiment
from evomerge.scoring.resident import DTYPES, ResidentModel
from evomerge.scoring.scorers import AnyBenchmark, Scorers
from evomerge.tracking.directions import arrow
from evomerge.workers.worker import Worker

PHASES: tuple[tuple[Phase, str], ...] = (
    ("search", "objectives"),
    ("selection", "selection"),
    ("test", "test"),
)


def evaluate_model(
    model_dir: Path,
    config: Path,
    overrides: Sequence[str],
    permissions: Permissions = NO_CODE,
) -> dict[str, Any]:
    """The model's scores on the items of the search, the selection and the test, as JSON values.

    Raises:
        ConfigError: the experiment cannot be used as written.
        ModelError: the folder holds no model that can be loaded.
        ScoringError: a task cannot be loaded, or the model cannot be scored.
    """
    experiment = load_experiment(config, overrides, permissions)
    benchmarks = load_experiment_tasks(experiment, permissions)
    plan = make_plan(experiment, benchmarks)
    open_checkpoint(model_dir)  # says best what is wrong with a folder
    torch.set_num_threads(experiment.scoring.threads)
    references = _references(plan, benchmarks)
    model = ResidentModel.from_folder(model_dir, dtype=DTYPES[plan.dtype])
    scoring = experiment.scoring
    scorers = Scorers(model, benchmarks, batch_size=scoring.batch_size, mode=scoring.mode)
    for name, logits in references.items():
        scorers.divergences[name].take(logits)
    scored = {key: _score(scorers, plan, phase) for phase, key in PHASES}
    minimised = sorted(o.name for o in plan.objectives if not o.measure.higher_is_better)
    return {"model": str(model_dir), "minimised": minimised, **scored}


def print_evaluation(evaluation: Mapping[str, Any]) -> None:
    """Print a line for each objective and kind of items."""
    console = Console(highlight=False)
    for phase, key in PHASES:
        for name, score in evaluation[key].items():
            error = "" if score["se"] is None else f" ± {score['se']:.4f}"
            title = arrow(name, {*evaluation["minimised"]})
            console.print(f"{phase:<9} {title:<24} {score['mean']:.4f}{error}  n={score['n']}")


def _references(
    plan: Plan, benchmarks: Mapping[str, AnyBenchmark]
) -> dict[str, Mapping[int, torch.Tensor]]:
    """The logits of what the benchmarks compare with; its models are gone before another comes."""
    spec = worker_spec(plan)
    if not spec.references:
        return {}
    worker = Worker(spec, {name: benchmarks[name] for name in spec.references})
    wanted = [_items(plan, phase) for phase, _ in PHASES]
    return {
        name: worker.reference(name, [item for items in wanted for item in items.get(name, ())])
        for name in spec.references
    }


def _items(plan: Plan, phase: Phase) -> Items:
    return plan.baseline_items() if phase == "search" else plan.items[phase]


def _score(scorers: Scorers, plan: Plan, phase: Phase) -> dict[str, dict[str, float | None]]:
    scores = ItemScores("", scorers.score(_items(plan, phase)), phase)
    estimates = Objectives(plan.objectives).estimates(scores)
    return {name: estimate.to_json() for name, estimate in estimates.items()}
