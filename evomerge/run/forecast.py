"""`plan`: what a run will take and what it can tell, from a few evaluations; writes nothing."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from evomerge.config.experiment import Experiment
from evomerge.records import Phase
from evomerge.run.build import load_experiment_tasks, make_plan
from evomerge.run.plan import Plan
from evomerge.run.probe import Probe, probe
from evomerge.run.resolution import Resolution, disagreement, probable_mean, resolution
from evomerge.run.sizes import Sizes, sizes_of
from evomerge.run.validate import load_experiment
from evomerge.scoring.benchmark import Benchmark

PHASES: tuple[Phase, Phase] = ("search", "test")

TRACKING_BYTES = 190 << 20
"""Memory of MLflow's client with its store, and of drawing the front; the quickstart's."""

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


@dataclass(frozen=True)
class Forecast:
    """What a run will take and what it can tell.

    Args:
        evaluations: by `baselines`, `search` and `test`.
        item_evaluations: the same, counted in items.
        workers: how many evaluations run at once.
        start_s: until the first evaluation.
        merge_s: one merge.
        evaluation_s: one evaluation of each phase, merge included.
        total_s: from the command to the end.
        memory_bytes: of a `worker`, of the `driver`, and in `total`.
        sizes: what lies on disk.
        objectives: what the items of each objective can tell, by phase.
        assumed: in words, what the figures rest on.
    """

    evaluations: Mapping[str, Span]
    item_evaluations: Mapping[str, Span]
    workers: int
    start_s: float
    merge_s: float
    evaluation_s: Mapping[Phase, Span]
    total_s: Span
    memory_bytes: Mapping[str, int]
    sizes: Sizes
    objectives: Mapping[str, Mapping[Phase, Resolution]]
    assumed: tuple[str, ...]


def forecast_of(config: Path, overrides: Sequence[str]) -> Forecast:
    """What a run of an experiment file will take on this machine.

    Raises:
        ConfigError: the experiment cannot be run as written, with every problem.
        ModelError: a model cannot be merged.
        ScoringError: no baseline can be scored.
    """
    experiment = load_experiment(config, overrides)
    benchmarks = load_experiment_tasks(experiment)
    plan = make_plan(experiment, benchmarks)
    seen = probe(plan, benchmarks)
    workers, limits = parallel(experiment)
    evaluations = _evaluations(plan)
    seconds = {phase: _span(seen.evaluation_s.get(phase, (0.0,))) for phase in PHASES}
    return Forecast(
        evaluations=evaluations,
        item_evaluations=_item_evaluations(plan, evaluations),
        workers=workers,
        start_s=seen.start_s,
        merge_s=seen.merge_s,
        evaluation_s=seconds,
        total_s=_total(experiment, seen.start_s, evaluations, seconds, workers),
        memory_bytes=_memory(experiment, seen),
        sizes=sizes_of(plan, evaluations["test"].expected),
        objectives=_objectives(plan, benchmarks, seen),
        assumed=(*_assumptions(plan, seen), *limits),
    )


def parallel(experiment: Experiment) -> tuple[int, list[str]]:
    """How many evaluations run at once here, and in words what limits them."""
    n_wanted = max(experiment.workers, 1)
    n_cores = os.cpu_count() or 1
    n_fit = max(n_cores // experiment.scoring.threads, 1)
    limits = []
    if experiment.search.window < n_wanted:
        limits.append(f"search.window {experiment.search.window} keeps some workers idle")
    if n_fit < n_wanted:
        limits.append(
            f"{n_cores} cores here hold {n_fit} workers of {experiment.scoring.threads} threads"
        )
    return min(n_wanted, experiment.search.window, n_fit), limits


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


def _evaluations(plan: Plan) -> dict[str, Span]:
    n_search = plan.experiment.budget.evaluations
    n_baselines = len({recipe.digest for recipe in plan.baselines.values()})
    front = front_size(n_search, len(plan.objectives))
    tested = [
        n_baselines + min(max(math.floor(factor * front), 1), n_search) for factor in FRONT_FACTORS
    ]
    return {
        "baselines": _exactly(n_baselines),
        "search": _exactly(n_search),
        "test": Span(*tested) if plan.items["test"] else _exactly(0),
    }


def _item_evaluations(plan: Plan, evaluations: Mapping[str, Span]) -> dict[str, Span]:
    n_search, n_test = (sum(map(len, plan.items[phase].values())) for phase in PHASES)
    per_model = {"baselines": n_search, "search": n_search, "test": n_test}
    return {kind: _times(evaluations[kind], n) for kind, n in per_model.items()}


def _total(
    experiment: Experiment,
    start_s: float,
    evaluations: Mapping[str, Span],
    seconds: Mapping[Phase, Span],
    workers: int,
) -> Span:
    """The start, that of a worker elsewhere too, then all evaluations spread over the workers."""
    starts = start_s * (2 if experiment.workers else 1)
    limit_s = experiment.budget.wall_time_s or math.inf
    n_search = evaluations["baselines"].expected + evaluations["search"].expected

    def total(search_s: float, n_test: float, test_s: float) -> float:
        return starts + min(n_search * search_s / workers, limit_s) + n_test * test_s / workers

    search, tested, test = seconds["search"], evaluations["test"], seconds["test"]
    return Span(
        low=total(search.low, tested.low, test.low),
        expected=total(search.expected, tested.expected, test.expected),
        high=total(search.high, tested.high, test.high),
    )


def _memory(experiment: Experiment, seen: Probe) -> dict[str, int]:
    """Peaks, mapped sources included: of a worker, as this process is one, and of the driver."""
    worker = seen.memory_bytes
    driver = worker + (TRACKING_BYTES if experiment.tracking.mlflow else 0)
    return {"worker": worker, "driver": driver, "total": driver + experiment.workers * worker}


def _objectives(
    plan: Plan, benchmarks: Mapping[str, Benchmark], seen: Probe
) -> dict[str, dict[Phase, Resolution]]:
    found: dict[str, dict[Phase, Resolution]] = {}
    for objective in plan.objectives:
        values = {name: own.tasks[objective.search].values for name, own in seen.scores.items()}
        merges = [values[name] for name in seen.merges]
        spread = disagreement(merges) if len(merges) > 1 else 0.5
        means = [probable_mean(own) for own in values.values()]
        found[objective.name] = {
            phase: resolution(len(plan.items[phase][task]), benchmarks[task].n_items, means, spread)
            for phase in PHASES
            if (task := objective.task(phase))
        }
    return found


def _assumptions(plan: Plan, seen: Probe) -> list[str]:
    n_items = {task: len(own) for task, own in plan.items["search"].items()}
    scored = ", ".join(f"{n} of {n_items[task]} of {task}" for task, n in seen.n_probed.items())
    return [
        f"time: median and quartiles of {len(seen.scores)} models scored here ({scored} items); "
        "items that were not scored take as long, and the workers are as fast as this machine",
        "front: 1.5 times that of as many independent points, from 0.75 to 2.5 times; larger still "
        "where few items make many candidates equal",
        "memory: the peak of this process, which is a worker while it probes, and what tracking "
        "took in the quickstart; pages of mapped models count for each worker, although those of a "
        "node share them",
    ]


def _span(seconds: Sequence[float]) -> Span:
    if len(seconds) < 2:
        return _exactly(seconds[0])
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return Span(low, median(seconds), high)


def _exactly(number: float) -> Span:
    return Span(number, number, number)


def _times(span: Span, factor: float) -> Span:
    return Span(span.low * factor, span.expected * factor, span.high * factor)
