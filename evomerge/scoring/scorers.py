"""A scorer for every benchmark of a run, by its kind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring.benchmark import Benchmark, TaskBenchmark
from evomerge.scoring.divergence import DivergenceScorer
from evomerge.scoring.model_size import ModelBenchmark, SizeScorer
from evomerge.scoring.perplexity import PerplexityScorer
from evomerge.scoring.resident import ResidentModel, load_config, load_tokenizer
from evomerge.scoring.scorer import Mode, Scorer
from evomerge.scoring.task_group import TaskGroup
from evomerge.scoring.text_benchmark import TextBenchmark
from evomerge.scoring.tokenising import tokenise

AnyBenchmark = TaskBenchmark | TextBenchmark | ModelBenchmark


class ItemScorer(Protocol):
    """Scores items of one benchmark with whatever weights the resident model holds."""

    def score(self, items: Sequence[int]) -> Mapping[str, TaskScores]:
        """The result of each item, in the order given, for every measure by its key."""


class Scorers:
    """Scores items of any benchmarks: tasks by `Scorer`, every other by a scorer of its own.

    Args:
        model: whose weights are scored, as they are at the time.
        benchmarks: every benchmark that may be asked for.
        batch_size: requests in a batch of lm-eval's own model class.
        mode: `packed`, or `exact` for its batches alone.
    """

    def __init__(
        self,
        model: ResidentModel,
        benchmarks: Mapping[str, AnyBenchmark],
        *,
        batch_size: int = 32,
        mode: Mode = "packed",
    ) -> None:
        tasks = {name: own for name, own in benchmarks.items() if isinstance(own, TaskBenchmark)}
        self._benchmarks = dict(benchmarks)
        self._tasks = Scorer(model, tasks, batch_size=batch_size, mode=mode)
        self._others: dict[str, ItemScorer] = {
            name: _scorer(model, own)
            for name, own in benchmarks.items()
            if not isinstance(own, TaskBenchmark)
        }

    @property
    def divergences(self) -> Mapping[str, DivergenceScorer]:
        """The scorers that compare with a reference, which they must learn first, by benchmark."""
        return {
            name: own for name, own in self._others.items() if isinstance(own, DivergenceScorer)
        }

    def score(self, items: Mapping[str, Sequence[int]]) -> dict[str, TaskScores]:
        """The results of some items of each benchmark, by measure key.

        Raises:
            ScoringError: no such benchmark or item, or lm-eval cannot score it.
            NonFiniteScore: the model's logits, or the metric of an item, are NaN or infinite.
        """
        scores: dict[str, TaskScores] = {}
        for name, own in items.items():
            if name in self._others:
                self._check(name, own)
                scores |= self._others[name].score(own)
            else:
                scores |= self._tasks.score(name, own)
        return scores

    def _check(self, name: str, items: Sequence[int]) -> None:
        n_items = self._benchmarks[name].n_items
        if wrong := [item for item in items if not 0 <= item < n_items]:
            raise ScoringError(f"benchmark {name!r} has items 0 to {n_items - 1}, not {wrong[0]}")


def _scorer(model: ResidentModel, benchmark: TextBenchmark | ModelBenchmark) -> ItemScorer:
    if isinstance(benchmark, ModelBenchmark):
        return SizeScorer(model, benchmark)
    if benchmark.metric == "kl":
        return DivergenceScorer(model, benchmark)
    return PerplexityScorer(model, benchmark)


def tokenised(benchmarks: Mapping[str, AnyBenchmark], model: Path) -> dict[str, AnyBenchmark]:
    """The benchmarks, every task of them with its tokens for the model in a folder.

    Raises:
        ModelError: the folder has no tokenizer that can be loaded.
    """
    tokenizer, config = load_tokenizer(model), load_config(model)

    def of_task(task: Benchmark) -> Benchmark:
        return replace(task, tokens=task.tokens or tokenise(task, tokenizer, config))

    def of_any(benchmark: AnyBenchmark) -> AnyBenchmark:
        if isinstance(benchmark, TaskGroup):
            return replace(benchmark, parts=tuple(map(of_task, benchmark.parts)))
        return of_task(benchmark) if isinstance(benchmark, Benchmark) else benchmark

    return {name: of_any(own) for name, own in benchmarks.items()}
