"""A group of lm-eval's tasks as one benchmark: the items of its tasks, one after another."""

import bisect
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evomerge.errors import ScoringError
from evomerge.records import Measure, TaskScores
from evomerge.scoring.metrics import Metric

if TYPE_CHECKING:
    from evomerge.scoring.benchmark import Benchmark

WEIGHTED = "weighted_mean"
"""Σ values / Σ weights: where tasks count alike, an item of a large one counts less."""


@dataclass(frozen=True, eq=False)
class TaskGroup:
    """Tasks that are scored as one.

    Item i is item i − first of the part whose items begin at `first` and include it. Every part has
    the group's `metrics`, under the same keys; a measure whose aggregation is `weighted_mean` lets
    all tasks count alike, whatever their sizes.
    """

    name: str
    parts: tuple["Benchmark", ...]
    metrics: tuple[Metric, ...]

    @property
    def n_items(self) -> int:
        """How many documents all tasks have together."""
        return sum(part.n_items for part in self.parts)

    @property
    def contents(self) -> list[str]:
        """What each document asks and what it takes for right, as text: equal for equal ones."""
        return [text for part in self.parts for text in part.contents]

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How the item results of each metric add up, by its key."""
        return {metric.key: metric.measure for metric in self.metrics}

    @property
    def digest(self) -> str:
        """A digest of all that its scores depend on."""
        digest = hashlib.sha256(repr(self.measures).encode())
        for part in self.parts:
            digest.update(part.digest.encode())
        return digest.hexdigest()

    def digest_of(self, key: str) -> str:
        """The same of one metric by its key, whatever else is measured of the items."""
        digest = hashlib.sha256(repr(self.measures[key]).encode())
        for part in self.parts:
            digest.update(part.digest_of(key).encode())
        return digest.hexdigest()

    def text(self, item: int) -> str:
        """What a document asks and what it takes for right, for the eye."""
        ((part, own, _),) = self.split([item])
        return part.text(own[0])

    def portable(self) -> "TaskGroup":
        """A copy that scores the same and can travel."""
        return replace(self, parts=tuple(part.portable() for part in self.parts))

    def split(self, items: Sequence[int]) -> Iterator[tuple["Benchmark", list[int], list[int]]]:
        """Each part that has some of these items, their indices in it, and their places here."""
        if wrong := [item for item in items if not 0 <= item < self.n_items]:
            raise ScoringError(
                f"benchmark {self.name!r} has items 0 to {self.n_items - 1}, not {wrong[0]}"
            )
        starts = [0, *itertools.accumulate(part.n_items for part in self.parts)]
        places: dict[int, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(bisect.bisect_right(starts, item) - 1, []).append(place)
        for part, own in sorted(places.items()):
            yield self.parts[part], [items[place] - starts[part] for place in own], own

    def join(
        self, items: Sequence[int], scores: Mapping[str, Mapping[str, TaskScores]]
    ) -> dict[str, TaskScores]:
        """The group's results of some items, from those of its parts by name and key.

        Args:
            items: the items that `split` was given.
            scores: of each part that it named, the results of the items that it named.
        """
        return {metric.key: self._join(metric, items, scores) for metric in self.metrics}

    def _join(
        self, metric: Metric, items: Sequence[int], scores: Mapping[str, Mapping[str, TaskScores]]
    ) -> TaskScores:
        values, weights = [0.0] * len(items), [1.0] * len(items)
        for part, _, places in self.split(items):
            weight = self._weight(metric, part)
            for place, value in zip(places, scores[part.name][metric.key].values, strict=True):
                values[place], weights[place] = value * weight, weight
        weighted = metric.measure.aggregation == WEIGHTED
        return TaskScores(tuple(items), tuple(values), tuple(weights) if weighted else ())

    def _weight(self, metric: Metric, part: "Benchmark") -> float:
        """One on average over all items, and for every part the same in total."""
        if metric.measure.aggregation != WEIGHTED:
            return 1.0
        return self.n_items / (len(self.parts) * part.n_items)


def make_group(name: str, parts: Sequence["Benchmark"], *, by_size: Sequence[bool]) -> TaskGroup:
    """The group of some tasks that have the same metrics.

    Args:
        name: of the group.
        parts: its tasks; the keys of their metrics are the group's.
        by_size: for each metric, whether every item counts alike, instead of every task.

    Raises:
        ScoringError: a metric is not the mean of items, or its better end is not the same for all.
    """
    metrics = []
    for own, weigh_by_size in zip(
        zip(*(p.metrics for p in parts), strict=True), by_size, strict=True
    ):
        measures = {metric.measure for metric in own}
        if len(measures) > 1 or own[0].measure.aggregation != "mean":
            found = ", ".join(sorted(measure.aggregation for measure in measures))
            raise ScoringError(
                f"{own[0].name} of the tasks of group {name!r} is aggregated by {found}, expected "
                "mean, of which a part of the items can tell the group's score; choose another "
                "metric, or name the tasks one by one"
            )
        aggregation = "mean" if weigh_by_size else WEIGHTED
        measure = replace(own[0].measure, aggregation=aggregation)
        metrics.append(replace(own[0], measure=measure))
    return TaskGroup(name, tuple(parts), tuple(metrics))
