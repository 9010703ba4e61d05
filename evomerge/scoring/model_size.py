"""How large a model is, as a benchmark of one item."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evomerge.records import Measure, TaskScores, measure_key
from evomerge.scoring.resident import ResidentModel

MODEL = "model"
"""The name of the benchmark."""


@dataclass(frozen=True)
class ModelBenchmark:
    """The model itself, its one item: nothing that is asked of it, so nothing to be uncertain of.

    Args:
        sizes: what is wanted of it, of the names in `SIZES`.
    """

    sizes: tuple[str, ...]
    name: str = MODEL
    n_items: int = 1

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How its item results add up, by measure key."""
        measure = Measure("exact", higher_is_better=False)
        return {measure_key(self.name, size): measure for size in self.sizes}

    @property
    def contents(self) -> list[str]:
        """What its item is, as text."""
        return [self.name]

    @property
    def digest(self) -> str:
        """What its scores depend on beside the model."""
        return ",".join(self.sizes)

    def portable(self) -> "ModelBenchmark":
        """Itself: it holds nothing that cannot travel."""
        return self


class SizeScorer:
    """Scores the resident model's size."""

    def __init__(self, resident: ResidentModel, benchmark: ModelBenchmark) -> None:
        self._resident, self._benchmark = resident, benchmark

    def score(self, items: Sequence[int]) -> dict[str, TaskScores]:
        """Each of the model's sizes, by measure key."""
        sizes = {size: float(SIZES[size](self._resident)) for size in self._benchmark.sizes}
        return {
            measure_key(self._benchmark.name, size): TaskScores(tuple(items), (value,) * len(items))
            for size, value in sizes.items()
        }


def n_parameters(resident: ResidentModel) -> int:
    """How many entries the weights have; tied weights count once."""
    return sum(weight.numel() for weight in resident.model.parameters())


def n_layers(resident: ResidentModel) -> int:
    """How many layers stand on each other."""
    return int(resident.model.config.get_text_config().num_hidden_layers)


SIZES: Mapping[str, Callable[[ResidentModel], int]] = {
    "parameters": n_parameters,
    "layers": n_layers,
}
