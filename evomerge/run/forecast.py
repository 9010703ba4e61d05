"""`plan`: what a run will take and what it can tell, from a few evaluations; writes nothing."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import get_args

from evomerge.config.experiment import Experiment
from evomerge.records import NO_CODE, Permissions, Phase
from evomerge.run.aggregating import aggregate
from evomerge.run.build import load_experiment_tasks, make_plan
from evomerge.run.estimates import AGREEMENT, ObjectiveTasks
from evomerge.run.plan import Items, Plan, n_items
from evomerge.run.probe import Probe, probe
from evomerge.run.resolution import (
    Resolution,
    disagreement,
    probable_mean,
    resolution,
    resolution_of_scores,
)
from evomerge.run.selecting import MOST_SELECTED
from evomerge.run.sizes import Sizes, sizes_of
from evomerge.run.validate import load_experiment
from evomerge.scoring.scorers import AnyBenchmark

PHASES = get_args(Phase)

REPORT_BYTES, TRACKING_BYTES, RAY_BYTES = 60 << 20, 460 << 20, 600 << 20
"""Resident memory of drawing the front, of the process that sends the run to MLflow, and of a local
Ray without its workers; measured on the quickstart."""

FRONT_FACTORS = (0.75, 1.5, 2.5)
"""Front of a search over that of as many independent points: least, expected, most.

The quickstart's fronts with five seeds were 0.8 to 2.1 times that, 1.6 on average.
"""


@dataclass(frozen=True)
class Span:
    """An expected number, with a low and a high one."""

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Span":
        """The span, stretched."""
        return Span(self.low * factor, self.expected * factor, self.high * factor)

    def plus(self, number: float) -> "Span":
        """The span, moved."""
        return Span(self.low + number, self.expected + number, self.high + number)

    @classmethod
    def exactly(cls, number: float) -> "Span":
        """A number that is known."""
        return cls(number, number, number)


@dataclass(frozen=True)
class Work:
    """Models that are evaluated on the same items: how many, on how many, how long each takes."""

    n_models: Span
    n_items: int
    seconds: Span

    def total_s(self, bound: str) -> float:
        """The seconds of one worker; `bound` is `low`, `expected` or `high`."""
        return float(getattr(self.n_models, bound) * getattr(self.seconds, bound))


@dataclass(frozen=True)
class Forecast:
    """What a run will take and what it can tell.

    Args:
        work: the evaluations of `baselines`, of the candidates that `calibration` scores on all
            items and that the `search` scores on some, and those on `selection` and `test` items.
        n_workers: how many evaluations run at once.
        start_s: until the first evaluation.
        merge_s: one merge; it is part of every evaluation.
        total_s: from the command to the end.
        memory_bytes: of a `worker`, of the `driver`, of `tracking` and `ray`, and in `total`.
        sizes: what lies on disk.
        objectives: what the items of each objective can tell, by phase.
        assumed: in words, what the figures rest on.
    """

    work: Mapping[str, Work]
    n_workers: int
    start_s: float
    merge_s: float
    total_s: Span
    memory_bytes: Mapping[str, int]
    sizes: Sizes
    objectives: Mapping[str, Mapping[Phase, Resolution]]
    assumed: tuple[str, ...]


def forecast_of(
    config: Path, overrides: Sequence[str], permissions: Permissions = NO_CODE
) -> Forecast:
    """What a run of an experiment file will take on this machine.

    Raises:
        ConfigError: the experiment cannot be run as written, with every problem.
        ModelError: a model cannot be merged.
        ScoringError: no baseline can be scored.
    """
    experiment = load_experiment(config, overrides, permissions)
    benchmarks = load_experiment_tasks(experiment, permissions)
    plan = make_plan(experiment, benchmarks)
    seen = probe(plan, benchmarks)
    work = _work(plan, seen)
    n_workers, limits = parallel(experiment)
    return Forecast(
        work=work,
        n_workers=n_workers,
        start_s=seen.start_s,
        merge_s=seen.merge_s,
        total_s=_total(experiment, seen.start_s, work, n_workers),
        memory_bytes=_memory(experiment, seen, n_workers),
        sizes=sizes_of(plan, work["selection"].n_models.expected, work["test"].n_models.expected),
        objectives=_objectives(plan, benchmarks, seen),
        assumed=(*_assumptions(plan, seen), *limits),
    )


def parallel(experiment: Experiment) -> tuple[int, list[str]]:
    """How many evaluations run at once, and in words what limits them."""
    wanted, window = experiment.workers, experiment.search.window
    if experiment.address is not None and wanted == "auto":
        return 1, [f"workers: how many {experiment.address} holds is not known here; divide by it"]
    n_cores = os.cpu_count() or 1
    cpus = experiment.resources.num_cpus or experiment.scoring.threads
    # Of a cluster only the number of workers is known, of this machine what it holds.
    n_fit = max(int(n_cores / cpus), 1) if experiment.address is None else math.inf
    n_wanted = n_fit if wanted == "auto" else max(wanted, 1)
    limits = []
    if window < n_wanted:
        limits.append(f"workers: search.window {window} keeps some of them idle")
    if n_fit < n_wanted:
        limits.append(f"workers: {n_cores} cores here hold {n_fit} of {cpus:g} CPUs each")
    return int(min(n_wanted, window, n_fit)), limits


def front_size(n_points: int, n_objectives: int) -> float:
    """The expected number of non-dominated among independent points without ties.

    E(n, m) = Σₖ₌₁ⁿ E(k, m−1) / k with E(n, 1) = 1 (Bentley et al. 1978,
    https://doi.org/10.1145/322092.322095).
    """
    expected = [1.0] * n_points
    for _ in range(n_objectives - 1):
        total, sums = 0.0, []
        for k, value in enumerate(expected, start=1):
            total += value / k
            sums.append(total)
        expected = sums
    return expected[-1]


def _work(plan: Plan, seen: Probe) -> dict[str, Work]:
    budget = plan.experiment.budget.evaluations
    n_full = min(plan.n_calibration, budget)
    n_baselines = len({recipe.digest for recipe in plan.baselines.values()})
    front = _front(plan)
    selected = front.times(MOST_SELECTED)
    work: dict[str, tuple[Span, Items, Phase]] = {
        "baselines": (Span.exactly(n_baselines), plan.baseline_items(), "search"),
        "calibration": (Span.exactly(n_full), plan.sorted_items("search"), "search"),
        "search": (Span.exactly(budget - n_full), plan.sample_items(), "search"),
        "selection": (selected.plus(n_baselines), plan.items["selection"], "selection"),
        "test": (front.plus(n_baselines), plan.items["test"], "test"),
    }
    return {
        kind: Work(
            n if items else Span.exactly(0), n_items(items), _span(seen.evaluation_s(items, phase))
        )
        for kind, (n, items, phase) in work.items()
    }


def _front(plan: Plan) -> Span:
    """How many candidates the front of the search has."""
    budget = plan.experiment.budget.evaluations
    front = front_size(budget, sum(own.requirement is None for own in plan.objectives))
    return Span(*(min(max(round(f * front), 1), budget) for f in FRONT_FACTORS))


def _total(
    experiment: Experiment, start_s: float, work: Mapping[str, Work], n_workers: int
) -> Span:
    """The start, that of a worker elsewhere too, then all evaluations spread over the workers."""
    starts = start_s * (2 if experiment.workers else 1)
    limit_s = experiment.budget.wall_time_s or math.inf

    def total(bound: str) -> float:
        searching = sum(work[kind].total_s(bound) for kind in ("calibration", "search"))
        rest = sum(work[kind].total_s(bound) for kind in ("baselines", "selection", "test"))
        return starts + min(searching / n_workers, limit_s) + rest / n_workers

    return Span(total("low"), total("expected"), total("high"))


def _memory(experiment: Experiment, seen: Probe, n_workers: int) -> dict[str, int]:
    """Peaks, mapped files included: of a worker, as this process is one, and of all beside it."""
    is_local = bool(experiment.workers) and experiment.address is None
    parts = {
        "driver": seen.memory_bytes + REPORT_BYTES,
        "tracking": TRACKING_BYTES if experiment.tracking.mlflow else 0,
        "ray": RAY_BYTES if is_local else 0,
    }
    workers = n_workers * seen.memory_bytes if experiment.workers else 0
    return {"worker": seen.memory_bytes, **parts, "total": sum(parts.values()) + workers}


def _objectives(
    plan: Plan, benchmarks: Mapping[str, AnyBenchmark], seen: Probe
) -> dict[str, dict[Phase, Resolution]]:
    found: dict[str, dict[Phase, Resolution]] = {}
    items = {**plan.items, "search": plan.sample_items()}
    for objective in plan.objectives:
        if objective.metric == AGREEMENT:
            continue  # with whom depends on the search
        found[objective.name] = {
            phase: _resolution(objective, len(items[phase][task]), benchmarks[task].n_items, seen)
            for phase in PHASES
            if (task := objective.task(phase)) in items[phase]
        }
    return found


def _resolution(
    objective: ObjectiveTasks, n_items: int, n_documents: int, seen: Probe
) -> Resolution:
    scores = {name: own.tasks[objective.key("search")] for name, own in seen.scores.items()}
    merges = [scores[name].values for name in seen.merges]
    spread = disagreement(merges) if len(merges) > 1 else None
    is_mean = objective.measure.aggregation == "mean"
    if objective.measure.is_share and is_mean:
        means = [probable_mean(own.values) for own in scores.values()]
        return resolution(n_items, n_documents, means, 0.5 if spread is None else spread)
    estimates = [aggregate(own, objective.measure) for own in scores.values()]
    return resolution_of_scores(n_items, n_documents, estimates, spread if is_mean else None)


def _assumptions(plan: Plan, seen: Probe) -> list[str]:
    lines = [
        f"time: median and quartiles of {len(seen.scores)} models, each scored here on "
        f"{seen.n_probed['search']} of {n_items(plan.baseline_items())} search items; other items "
        "take as long, and the workers are as fast as this machine",
        "front: 1.5 times that of as many independent points, from 0.75 to 2.5 times; larger still "
        "where few items make many candidates equal",
        "memory: the peak of this process, which is a worker while it probes, and what Ray and "
        "tracking took in the quickstart; pages of mapped models and of libraries count for each "
        "process, although those of a node share them",
    ]
    if plan.items["selection"]:
        lines.append(
            f"selection: at most {MOST_SELECTED} times as many candidates as the front has are "
            "scored again; the test, only of the front that is left, may take less than told"
        )
    lines += plan.notes
    if plan.uses_banks:
        lines.append(
            "errors: those of the mean over the items; `estimator: irt` has its own, smaller ones, "
            "as far as its response model holds"
        )
    return lines


def _span(seconds: Sequence[float]) -> Span:
    if len(seconds) < 2:
        return Span.exactly(seconds[0] if seconds else 0.0)
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return Span(low, median(seconds), high)
