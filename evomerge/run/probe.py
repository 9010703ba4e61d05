"""A few evaluations on this machine, to learn what a run will take."""

import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from evomerge.errors import ScoringError
from evomerge.records import Failure, ItemScores, Job, Phase, Recipe
from evomerge.run.build import worker_spec
from evomerge.run.plan import Items, Plan, n_items
from evomerge.scoring.scorers import AnyBenchmark
from evomerge.search.controller import ask_rng
from evomerge.workers.evaluator import attempt
from evomerge.workers.worker import Worker

PROBE_S = 20.0
"""Seconds that the probing aims to take, all models and items together."""

N_RANDOM = 3
"""Merges with random coefficients that are probed beside the baselines: the search starts so."""

FEWEST_ITEMS = 4
"""Items of each task that are scored however slow the model is."""


@dataclass(frozen=True)
class Probe:
    """What a few evaluations showed.

    Args:
        start_s: CPU seconds from the start of the process to a worker that is ready.
        merge_s: seconds of one merge.
        scores: results on some of the search items, by model.
        test_scores: the same on test items.
        n_probed: how many items of each phase a model was scored on.
        merges: the models in `scores` that are merges such as the search compares.
        memory_bytes: the most memory that the process has held until now.
    """

    start_s: float
    merge_s: float
    scores: Mapping[str, ItemScores]
    test_scores: Mapping[str, ItemScores]
    n_probed: Mapping[Phase, int]
    merges: tuple[str, ...]
    memory_bytes: int

    def evaluation_s(self, items: Items, phase: Phase) -> tuple[float, ...]:
        """The seconds of each model's whole evaluation, if all items take what the probed took."""
        probed = self.test_scores if phase == "test" else self.scores
        n_probed = self.n_probed["test" if phase == "test" else "search"]
        return tuple(_whole_s(own, n_probed, items, self.merge_s) for own in probed.values())


def probe(plan: Plan, benchmarks: Mapping[str, AnyBenchmark]) -> Probe:
    """Merge and score the baselines and a few random merges on some of the items.

    Raises:
        ScoringError: no baseline can be scored.
    """
    worker = Worker(worker_spec(plan), benchmarks)
    start_s = time.process_time()
    random = _random_merges(plan)
    recipes = {**plan.baselines, **random}
    _require_a_score(worker, plan)
    merge_s = _merge_seconds(worker, random)
    scores, n_search = _score(worker, recipes, plan.baseline_items(), "search", merge_s)
    test_scores, n_test = _score(worker, recipes, plan.items["test"], "test", merge_s)
    return Probe(
        start_s=start_s,
        merge_s=merge_s,
        scores=scores,
        test_scores=test_scores,
        n_probed={"search": n_search, "test": n_test},
        merges=tuple(name for name in ("uniform", "default", *random) if name in scores),
        memory_bytes=_peak_memory_bytes(),
    )


def _peak_memory_bytes() -> int:
    """The most memory that this process has held, mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux


def _random_merges(plan: Plan) -> dict[str, Recipe]:
    merges = {}
    for number in range(N_RANDOM):
        genome = ask_rng(plan.experiment.seed, number).random(plan.space.n_dims)
        merges[f"random {number + 1}"] = plan.space.decode(genome)
    return merges


def _require_a_score(worker: Worker, plan: Plan) -> None:
    """Score the baselines on two items; also what makes later timings those of a warm process."""
    few = {task: items[:2] for task, items in plan.items["search"].items()}
    results = [attempt(worker, _job(recipe, few, "search")) for recipe in plan.baselines.values()]
    failures = [result for result in results if isinstance(result, Failure)]
    if len(failures) == len(results):
        raise ScoringError(
            f"every baseline failed, so that nothing can be foretold; the first: "
            f"{failures[0].message}; mend the tasks or the scoring settings first"
        )


def _merge_seconds(worker: Worker, recipes: Mapping[str, Recipe]) -> float:
    """The median time of a merge: of evaluations without items."""
    results = [attempt(worker, _job(recipe, {}, "search")) for recipe in recipes.values()]
    return median(r.seconds if isinstance(r, ItemScores) else 0.0 for r in results)


def _score(
    worker: Worker, recipes: Mapping[str, Recipe], items: Items, phase: Phase, merge_s: float
) -> tuple[dict[str, ItemScores], int]:
    """The results of those recipes that can be scored, and the items that the time allows."""
    if not items:
        return {}, 0
    few = {task: own[:FEWEST_ITEMS] for task, own in items.items()}
    first = attempt(worker, _job(recipes["uniform"], few, phase))
    n_few = n_items(few)
    whole_s = _whole_s(first, n_few, items, merge_s) if isinstance(first, ItemScores) else math.inf
    share = PROBE_S / 2 / (len(recipes) * whole_s)
    chosen = {
        task: own[: max(FEWEST_ITEMS, math.ceil(min(share, 1.0) * len(own)))]
        for task, own in items.items()
    }
    results = {
        name: attempt(worker, _job(recipe, chosen, phase)) for name, recipe in recipes.items()
    }
    scored = {name: own for name, own in results.items() if isinstance(own, ItemScores)}
    return scored, n_items(chosen)


def _whole_s(scores: ItemScores, n_scored: int, items: Items, merge_s: float) -> float:
    """The time of a merge and all items, if every item takes as long as those that were scored."""
    return merge_s + max(scores.seconds - merge_s, 0.0) * n_items(items) / n_scored


def _job(recipe: Recipe, items: Items, phase: Phase) -> Job:
    return Job(recipe.digest, recipe, items, phase)
