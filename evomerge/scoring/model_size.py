"""How large a model is, as a benchmark of one item."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evomerge.records import Measure, TaskScores, measure_key
from evomerge.scoring.resident import ResidentModel

SizeMetric = Literal["parameters", "layers"]
MODEL = "model"
"""The name of the benchmark."""


@dataclass(frozen=True)
class ModelBenchmark:
    """The model itself, its one item: nothing that is asked of it, so nothing to be uncertain of.

    Args:
        metrics: what is wanted of it.
    """

    metrics: tuple[SizeMetric, ...]
    name: str = MODEL
    n_items: int = 1

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How its item results add up, by their key."""
        smaller_is_better = Measure("mean", higher_is_better=False)
        return {measure_key(self.name, metric): smaller_is_better for metric in self.metrics}

    @property
    def digest(self) -> str:
        """What its scores depend on beside the model."""
        return ",".join(self.metrics)

    def portable(self) -> "ModelBenchmark":
        """Itself: it holds nothing that cannot travel."""
        return self


class SizeScorer:
    """Scores the resident model's size."""

    def __init__(self, resident: ResidentModel, benchmark: ModelBenchmark) -> None:
        self._resident, self._benchmark = resident, benchmark

    def score(self, items: Sequence[int]) -> dict[str, TaskScores]:
        """Each metric of the model."""
        return {
            measure_key(self._benchmark.name, metric): TaskScores(
                tuple(items), (float(SIZES[metric](self._resident)),) * len(items)
            )
            for metric in self._benchmark.metrics
        }


def n_parameters(resident: ResidentModel) -> int:
    """How many entries the weights have; tied weights count once."""
    return sum(weight.numel() for weight in resident.model.parameters())


def n_layers(resident: ResidentModel) -> int:
    """How many layers stand on each other."""
    return int(resident.model.config.get_text_config().num_hidden_layers)


SIZES: Mapping[SizeMetric, Callable[[ResidentModel], int]] = {
    "parameters": n_parameters,
    "layers": n_layers,
}
