"""Scores of a resident model on items of benchmarks, equal to lm-eval's own, item by item."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring.answers import Results, results_of
from evomerge.scoring.benchmark import Benchmark, TaskBenchmark
from evomerge.scoring.choices import ChoiceScorer, ContinuationScorer
from evomerge.scoring.generation import GenerationScorer
from evomerge.scoring.likelihoods import LikelihoodPass
from evomerge.scoring.metrics import Metric
from evomerge.scoring.reference import Reference
from evomerge.scoring.resident import NonFiniteScore, ResidentModel
from evomerge.scoring.task_group import TaskGroup
from evomerge.scoring.tokenising import tokenise
from evomerge.scoring.tokens import TokenisedItems

Mode = Literal["packed", "exact"]


class FastScorer(Protocol):
    """Decides most items of one benchmark in few passes over their tokens."""

    def decide(self, items: Sequence[int]) -> Mapping[int, Results]:
        """The metrics of the items that are clear; only lm-eval's own way can tell of others."""


class Scorer:
    """Scores items of the benchmarks with whatever weights the resident model holds.

    In mode `exact`, lm-eval's own model class scores all items in its own batches of `batch_size`
    requests, to the last bit. In mode `packed`, a fast path decides the items that are clear of
    rounding, and leaves only the others to it. In float32 every decision is then that of one
    evaluation of the whole task by lm-eval at any batch size. In bfloat16 and float16 lm-eval's own
    results depend on its batches, and equal these if both use `batch_size` 1.

    One pass serves all metrics of a benchmark.
    """

    def __init__(
        self,
        model: ResidentModel,
        benchmarks: Mapping[str, TaskBenchmark],
        *,
        batch_size: int = 32,
        mode: Mode = "packed",
    ) -> None:
        self._reference = Reference(model, batch_size)
        groups = [own for own in benchmarks.values() if isinstance(own, TaskGroup)]
        tasks = [own for own in benchmarks.values() if isinstance(own, Benchmark)]
        self._groups = {group.name: group for group in groups}
        self._tasks = {
            task.name: _TaskScorer(model, self._reference, task, mode)
            for task in (*tasks, *(part for group in groups for part in group.parts))
        }

    def score(self, task: str, items: Sequence[int]) -> dict[str, TaskScores]:
        """Each metric of the items, in the order given, by its measure key.

        Raises:
            ScoringError: no such benchmark or item, or lm-eval cannot score it.
            NonFiniteScore: the model's logits, or a metric of an item, are NaN or infinite.
        """
        if task in self._groups:
            group = self._groups[task]
            parts = [(part.name, own) for part, own, _ in group.split(items)]
            return group.join(items, {name: self._tasks[name].score(own) for name, own in parts})
        if task not in self._tasks:
            known = ", ".join((*self._tasks, *self._groups))
            raise ScoringError(f"no benchmark {task!r} is loaded, expected one of {known}")
        return self._tasks[task].score(items)


class _TaskScorer:
    """Scores the items of one benchmark."""

    def __init__(
        self, model: ResidentModel, reference: Reference, benchmark: Benchmark, mode: Mode
    ) -> None:
        self._benchmark, self._reference = benchmark, reference
        self._tokens = benchmark.tokens or tokenise(benchmark, model.tokenizer, model.model.config)
        packed = mode == "packed"
        self._fast = fast_scorer(model, reference, benchmark, self._tokens) if packed else None

    def score(self, items: Sequence[int]) -> dict[str, TaskScores]:
        benchmark = self._benchmark
        if wrong := [item for item in items if not 0 <= item < benchmark.n_items]:
            raise ScoringError(
                f"benchmark {benchmark.name!r} has items 0 to {benchmark.n_items - 1}, "
                f"not {wrong[0]}"
            )
        unique = sorted(set(items))
        with torch.inference_mode():
            results = dict(self._fast.decide(unique)) if self._fast and unique else {}
            rest = [item for item in unique if item not in results]
            answers = self._reference.answers(benchmark, self._tokens, rest)
        results |= {item: results_of(benchmark, item, own) for item, own in answers.items()}
        return {metric.key: self._column(metric, items, results) for metric in benchmark.metrics}

    def _column(
        self, metric: Metric, items: Sequence[int], results: Mapping[int, Results]
    ) -> TaskScores:
        found = [results[item][metric.key] for item in items]
        pairs = [own if isinstance(own, tuple) else (own,) for own in found]
        for item, pair in zip(items, pairs, strict=True):
            if not all(map(math.isfinite, pair)):
                raise NonFiniteScore(
                    f"{metric.name} of item {item} of benchmark {self._benchmark.name!r} is "
                    f"{pair[0]}, expected a finite number"
                )
        weights = tuple(pair[1] for pair in pairs if len(pair) == 2)
        return TaskScores(tuple(items), tuple(pair[0] for pair in pairs), weights)


def fast_scorer(
    model: ResidentModel, reference: Reference, benchmark: Benchmark, tokens: TokenisedItems
) -> FastScorer | None:
    """What decides most items of a benchmark; None where only lm-eval's own way can."""
    run = LikelihoodPass(model, tokens, reference.lm.max_length)
    if ChoiceScorer.fits(benchmark):
        return ChoiceScorer(model, benchmark, run)
    if ContinuationScorer.fits(benchmark):
        return ContinuationScorer(benchmark, run, tokens)
    if GenerationScorer.fits(model, reference, benchmark):
        return GenerationScorer(model, reference, benchmark, tokens)
    return None
