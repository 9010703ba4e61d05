"""Items that are decided by log-likelihoods: of choices, of a continuation, of a whole text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from lm_eval.filters.selection import TakeFirstFilter
from numpy.typing import NDArray

from evomerge.scoring.answers import (
    Answer,
    Results,
    judges_by_own_code,
    results_of,
    right_choices,
    share_of_right,
)
from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.forward import rounding
from evomerge.scoring.likelihoods import LikelihoodPass
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import TokenisedItems

_LENGTHS: dict[str, Callable[[str], float]] = {
    "acc": lambda choice: 1.0,
    "acc_norm": lambda choice: float(len(choice)),
    "acc_bytes": lambda choice: float(len(choice.encode())),
}
"""What a choice's log-likelihood is divided by before the largest is taken."""

_JUDGED_BY = {**{name: name for name in _LENGTHS}, "f1": "acc", "mcc": "acc", "agreement": "acc"}
"""The comparison that decides a metric; others take the likelihoods as they are, or are greedy."""

_METRICS = {*_JUDGED_BY, "exact_match", "brier_score", "log_likelihood"}


@dataclass(frozen=True)
class Question:
    """What a choice's log-likelihood is divided by, for each comparison; and the right choices."""

    lengths: dict[str, NDArray[np.float64]]
    right: tuple[int, ...]


class ChoiceScorer:
    """Decides multiple-choice items whose best choice is clear of rounding."""

    def __init__(self, resident: ResidentModel, benchmark: Benchmark, run: LikelihoodPass) -> None:
        self._resident, self._benchmark, self._run = resident, benchmark, run
        names = {metric.name for metric in benchmark.metrics}
        self._comparisons = sorted({_JUDGED_BY[name] for name in names & _JUDGED_BY.keys()})
        self._needs_greedy = "exact_match" in names
        theirs = [metric for metric in benchmark.metrics if not metric.is_ours]
        self._only_best = all(metric.name in _LENGTHS for metric in theirs)
        self._question = lru_cache(maxsize=None)(self._compile)
        self._choosing = lru_cache(maxsize=None)(self._values_of_choosing)

    @staticmethod
    def fits(benchmark: Benchmark) -> bool:
        """Whether lm-eval judges the items of this benchmark by their log-likelihoods alone."""
        return (
            benchmark.output_type == "multiple_choice"
            and follows_the_rules(benchmark)
            and {metric.name for metric in benchmark.metrics} <= _METRICS
            and "acc_mutual_info" not in benchmark.task._metric_fn_list
        )

    def decide(self, items: Sequence[int]) -> dict[int, Results]:
        """The metrics of the items whose best choices are clear of rounding.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        known = [item for item in items if self._run.fits(item) and self._question(item)]
        found = self._run.run(known, greedy=self._needs_greedy)
        results = {}
        for item, (sums, greedy) in zip(known, found.by_item(), strict=True):
            if (own := self._decide(item, sums, greedy)) is not None:
                results[item] = own
        return results

    def _decide(
        self, item: int, sums: NDArray[np.float64], greedy: NDArray[np.int8]
    ) -> Results | None:
        question = self._question(item)
        if question is None or (self._needs_greedy and (greedy < 0).any()):
            return None
        error = rounding(self._resident.dtype, float(np.abs(sums).max()))
        best = {name: _best(sums, question.lengths[name], error) for name in self._comparisons}
        if None in best.values():
            return None
        if not self._only_best:
            pairs = list(zip(sums.tolist(), greedy.astype(bool).tolist(), strict=True))
            return {**self._benchmark.values(item, pairs), **self._own(sums, question)}
        theirs = {
            metric.key: self._choosing(item, best[metric.name])[metric.key]
            for metric in self._benchmark.metrics
            if not metric.is_ours
        }
        return {**theirs, **self._own(sums, question)}

    def _own(self, sums: NDArray[np.float64], question: Question) -> Results:
        return {
            metric.key: share_of_right(sums, question.right)
            if metric.name == "log_likelihood"
            else float(sums.argmax())
            for metric in self._benchmark.metrics
            if metric.is_ours
        }

    def _values_of_choosing(self, item: int, choice: int) -> Results:
        """lm-eval's metrics when `choice` is the best, by the task's own rules."""
        n_choices = len(self._benchmark.requests[item])
        responses = [(0.0 if c == choice else -1.0, False) for c in range(n_choices)]
        return self._benchmark.values(item, responses)

    def _compile(self, item: int) -> Question | None:
        """What the item is decided by; None where that is nothing sensible."""
        choices = self._benchmark.task.doc_to_choice(self._benchmark.documents[item])
        lengths = {
            name: np.array([_LENGTHS[name](choice) for choice in choices])
            for name in self._comparisons
        }
        right = right_choices(self._benchmark, item)
        needs_right = any(metric.name == "log_likelihood" for metric in self._benchmark.metrics)
        if not all(own.all() for own in lengths.values()) or (needs_right and not right):
            return None
        return Question(lengths, right)


class ContinuationScorer:
    """Scores items of `loglikelihood` and `loglikelihood_rolling` tasks.

    Whether greedy decoding says a continuation must be clear of rounding; log-likelihoods are
    taken as computed.
    """

    def __init__(self, benchmark: Benchmark, run: LikelihoodPass, tokens: TokenisedItems) -> None:
        self._benchmark, self._run, self._tokens = benchmark, run, tokens
        self._rolls = benchmark.output_type == "loglikelihood_rolling"
        self._needs_greedy = any(metric.name == "acc" for metric in benchmark.metrics)

    @staticmethod
    def fits(benchmark: Benchmark) -> bool:
        """Whether lm-eval judges the items of this benchmark by their log-likelihoods alone."""
        return benchmark.output_type.startswith("loglikelihood") and follows_the_rules(benchmark)

    def decide(self, items: Sequence[int]) -> dict[int, Results]:
        """The metrics of the items that are clear of rounding.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        known = [item for item in items if self._run.fits(item)]
        found = self._run.run(known, greedy=self._needs_greedy)
        return {
            item: results_of(self._benchmark, item, self._answer(item, sums, greedy))
            for item, (sums, greedy) in zip(known, found.by_item(), strict=True)
            if self._rolls or not self._needs_greedy or greedy[0] >= 0
        }

    def _answer(self, item: int, sums: NDArray[np.float64], greedy: NDArray[np.int8]) -> Answer:
        if self._rolls:
            return Answer([float(sums.sum())])
        ((_, continuation),) = self._tokens.pairs(item)
        total = float(sums[0])
        return Answer([(total, bool(greedy[0]))], log_likelihood=total / len(continuation))


def follows_the_rules(benchmark: Benchmark) -> bool:
    """Whether lm-eval's own rules turn the first of the responses into the metrics."""
    return (
        not judges_by_own_code(benchmark)
        and benchmark.task.config.repeats == 1
        and all(
            benchmark.steps_of(metric.filter) == (TakeFirstFilter,)
            for metric in benchmark.metrics
            if not metric.is_ours
        )
    )


def _best(sums: NDArray[np.float64], lengths: NDArray[np.float64], error: float) -> int | None:
    """The choice whose likelihood for its length is the largest beyond rounding, if one is."""
    scores = sums / lengths
    best = int(scores.argmax())
    second = np.delete(scores, best).max(initial=-np.inf)
    return best if second <= scores[best] - error / lengths.min() else None
