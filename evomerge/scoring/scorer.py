"""Scores of a resident model on items of benchmarks, equal to lm-eval's own, item by item."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from lm_eval.models.huggingface import HFLM

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring import reference
from evomerge.scoring.benchmark import Benchmark, ItemResult
from evomerge.scoring.choices import ChoiceScorer
from evomerge.scoring.greedy import GreedyScorer
from evomerge.scoring.resident import NonFiniteScore, ResidentModel


class FastScorer(Protocol):
    """Decides most items of one benchmark in one pass over their tokens."""

    def decide(self, items: Sequence[int]) -> Mapping[int, float | None]:
        """The metric of each item, None where only lm-eval's own way can tell."""


class Scorer:
    """Scores items of the benchmarks with whatever weights the resident model holds.

    A fast path decides the items that are clear of rounding; lm-eval's own model class scores the
    others, in batches of `batch_size` requests. In float32 the result is that of one evaluation of
    the whole task by lm-eval at any batch size. In bfloat16 and float16 lm-eval's own results
    depend on its batches, and equal these if both use `batch_size` 1.
    """

    def __init__(
        self, model: ResidentModel, benchmarks: Mapping[str, Benchmark], *, batch_size: int = 32
    ) -> None:
        self._benchmarks = dict(benchmarks)
        self._lm = reference.wrap(model, batch_size)
        self._fast = {
            name: fast
            for name, benchmark in benchmarks.items()
            if (fast := _fast_scorer(model, self._lm, benchmark))
        }

    def score(self, task: str, items: Sequence[int]) -> TaskScores:
        """The metric of each item, in the order given.

        Raises:
            ScoringError: no such benchmark or item, or lm-eval cannot score it.
            NonFiniteScore: the model's logits, or the metric of an item, are NaN or infinite.
        """
        benchmark = self._checked(task, items)
        unique = sorted(set(items))
        with torch.inference_mode():
            decided = self._fast[task].decide(unique) if task in self._fast else {}
            values = {item: value for item, value in decided.items() if value is not None}
            undecided = [item for item in unique if item not in values]
            rest = reference.score_items(self._lm, benchmark, undecided)
        key = benchmark.metrics[0].key
        pairs: dict[int, tuple[float, float | None]] = {
            item: (value, None) for item, value in values.items()
        }
        pairs |= {item: _pair(own[key]) for item, own in rest.items()}
        for item, (value, _) in pairs.items():
            if not math.isfinite(value):
                raise NonFiniteScore(
                    f"{benchmark.metric} of item {item} of benchmark {task!r} is {value}, "
                    "expected a finite number"
                )
        weights = [weight for item in items if (weight := pairs[item][1]) is not None]
        return TaskScores(tuple(items), tuple(pairs[item][0] for item in items), tuple(weights))

    def _checked(self, task: str, items: Sequence[int]) -> Benchmark:
        if task not in self._benchmarks:
            raise ScoringError(
                f"no benchmark {task!r} is loaded, expected one of {', '.join(self._benchmarks)}"
            )
        benchmark = self._benchmarks[task]
        if wrong := [item for item in items if not 0 <= item < benchmark.n_items]:
            raise ScoringError(
                f"benchmark {task!r} has items 0 to {benchmark.n_items - 1}, not {wrong[0]}"
            )
        return benchmark


def _pair(result: ItemResult) -> tuple[float, float | None]:
    return result if isinstance(result, tuple) else (result, None)


def _fast_scorer(model: ResidentModel, lm: HFLM, benchmark: Benchmark) -> FastScorer | None:
    if ChoiceScorer.fits(benchmark):
        return ChoiceScorer(model, lm, benchmark)
    if GreedyScorer.fits(model, lm, benchmark):
        return GreedyScorer(model, lm, benchmark)
    return None
