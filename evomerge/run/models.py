"""The scored models that others are compared with: baselines, and earlier candidates nearby."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from evomerge.journal.state import RunState
from evomerge.records import ItemScores, Recipe, TaskScores

N_NEIGHBOURS = 2
"""AdaMMS compares a merge with the one before and the one behind it on a line of coefficients."""


class Models:
    """A view of what the journal of a run holds, and a function of that alone.

    Args:
        state: the run, read on while it is written.
        baselines: its baselines' recipes by name.
    """

    def __init__(self, state: RunState, baselines: Mapping[str, Recipe]) -> None:
        self._state = state
        self._baselines = baselines
        self._ids: list[str] = []  # of the told candidates that were scored, in order of the tells
        self._orders: dict[str, int] = {}  # how many of them were told before each told candidate
        self._genomes: NDArray[np.float64] = np.empty((0, 0))  # (≥ n_ids, n_dims)
        self._n_seen = 0

    def baselines(self) -> dict[str, ItemScores]:
        """The item results in the search of the baselines that have been scored, by name."""
        found = {name: self._scores(recipe.digest) for name, recipe in self._baselines.items()}
        return {name: scores for name, scores in found.items() if scores is not None}

    def neighbours(self, candidate_id: str, key: str) -> list[TaskScores]:
        """The results of the two models that are nearest to a model, by a measure's key.

        They are the candidates told before it whose genomes have the smallest Euclidean distance,
        the earlier of equals, that were asked at least half of its items. Where there are none yet,
        and for a baseline, the baselines `uniform`, `default` and the others stand in.
        """
        own = self._scores(candidate_id)
        if own is None:
            return []
        items = own.tasks[key].items
        found = []
        for other in self._by_distance(candidate_id):
            scores = self._scores(other)
            if scores is not None and _is_comparable(items, scores.tasks[key].items):
                found.append(scores.tasks[key])
                if len(found) == N_NEIGHBOURS:
                    break
        return found

    def _scores(self, candidate_id: str) -> ItemScores | None:
        result = self._state.result(candidate_id)
        return result if isinstance(result, ItemScores) else None

    def _by_distance(self, candidate_id: str) -> Iterator[str]:
        """Earlier candidates from the nearest on, then baselines."""
        self._take_in()
        numbers = self._state.numbers_of(candidate_id)
        if numbers:
            n = self._orders.get(candidate_id, len(self._ids))
            genome = np.array(self._state.candidates[numbers[0]].genome)
            distances = np.linalg.norm(self._genomes[:n] - genome, axis=1) if n else np.empty(0)
            yield from (self._ids[row] for row in np.argsort(distances, kind="stable"))
        first = ("uniform", "default")
        names = [name for name in (*first, *self._baselines) if name in self._baselines]
        ids = dict.fromkeys(self._baselines[name].digest for name in names)
        yield from (id_ for id_ in ids if id_ != candidate_id)

    def _take_in(self) -> None:
        """Learn what was told since the last time."""
        for told in self._state.told[self._n_seen :]:
            self._orders[told.candidate_id] = len(self._ids)
            if self._scores(told.candidate_id) is not None:
                self._append(told.candidate_id, self._state.candidates[told.number].genome)
        self._n_seen = len(self._state.told)

    def _append(self, candidate_id: str, genome: tuple[float, ...]) -> None:
        n = len(self._ids)
        if n == len(self._genomes):  # twice the room, so that a long run is copied a few times only
            grown = np.empty((max(2 * n, 16), len(genome)))
            grown[:n] = self._genomes[:n] if n else 0.0
            self._genomes = grown
        self._genomes[n] = genome
        self._ids.append(candidate_id)


def _is_comparable(items: tuple[int, ...], others: tuple[int, ...]) -> bool:
    return items == others or 2 * len(set(items) & set(others)) >= len(items)
