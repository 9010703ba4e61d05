"""Scores of a resident model on items of benchmarks, equal to lm-eval's own, item by item."""

from collections.abc import Mapping, Sequence

import torch

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring import reference
from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.resident import ResidentModel


class Scorer:
    """Scores items of the benchmarks with whatever weights the resident model holds."""

    def __init__(
        self, model: ResidentModel, benchmarks: Mapping[str, Benchmark], *, batch_size: int = 32
    ) -> None:
        self._benchmarks = benchmarks
        self._lm = reference.wrap(model, batch_size)

    def score(self, task: str, items: Sequence[int]) -> TaskScores:
        """The metric of each item, in the order given.

        Raises:
            ScoringError: no such benchmark or item.
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        benchmark = self._benchmark(task)
        if wrong := [item for item in items if not 0 <= item < benchmark.n_items]:
            raise ScoringError(
                f"benchmark {task!r} has items 0 to {benchmark.n_items - 1}, not {wrong[0]}"
            )
        with torch.inference_mode():
            values = reference.score_items(self._lm, benchmark, sorted(set(items)))
        return TaskScores(tuple(items), tuple(values[item] for item in items))

    def _benchmark(self, task: str) -> Benchmark:
        if task not in self._benchmarks:
            raise ScoringError(
                f"no benchmark {task!r} is loaded, expected one of {', '.join(self._benchmarks)}"
            )
        return self._benchmarks[task]
