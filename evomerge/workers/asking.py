"""Scoring what a job asks, and what its answers make it ask further, while its merge is there."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from evomerge.records import Job, TaskScores


class BenchmarkScorer(Protocol):
    """Scores items of benchmarks, such as `scoring.scorers.Scorers`."""

    def score(self, items: Mapping[str, Sequence[int]]) -> Mapping[str, TaskScores]:
        """The results of some items of each benchmark, by measure key."""


def ask(scorer: BenchmarkScorer, job: Job) -> dict[str, TaskScores]:
    """The results of every measure by its key, in the order of asking.

    First those of the job's items of a benchmark, then those of each batch that its asker wants.
    """
    scores: dict[str, TaskScores] = {}
    for benchmark, items in job.items.items():
        found = dict(scorer.score({benchmark: items}))
        asker = job.asking.get(benchmark)
        while asker is not None and (more := asker.next_items(found)):
            further = scorer.score({benchmark: more})
            found = {key: own.then(further[key]) for key, own in found.items()}
        scores |= found
    return scores
