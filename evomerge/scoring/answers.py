"""What a model answered to an item, and the item's metrics: lm-eval's, and ours."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from lm_eval.api.task import ConfigurableTask
from numpy.typing import NDArray

from evomerge.errors import ScoringError
from evomerge.scoring.benchmark import Benchmark, ItemResult

Results = Mapping[str, ItemResult]
"""The metrics of an item by their keys."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one item.

    `responses` are what lm-eval's model class returns for its requests. `n_tokens` is how many
    tokens were generated, without the end. `log_likelihood` is the mean log p of the tokens of the
    right answer, where that is asked for and is not told by the responses.
    """

    responses: Sequence[object]
    n_tokens: int | None = None
    log_likelihood: float | None = None


def results_of(benchmark: Benchmark, item: int, answer: Answer) -> dict[str, ItemResult]:
    """Every metric that is wanted of an item.

    Raises:
        ScoringError: a metric cannot be told of this item.
    """
    results = dict(benchmark.values(item, answer.responses))
    return results | own_results(benchmark, item, answer)


def own_results(benchmark: Benchmark, item: int, answer: Answer) -> dict[str, ItemResult]:
    """The metrics of ours that are wanted of an item."""
    return {
        metric.key: float(_OURS[metric.name](benchmark, item, answer))
        for metric in benchmark.metrics
        if metric.is_ours
    }


def judges_by_own_code(benchmark: Benchmark) -> bool:
    """Whether a task turns responses into metrics by code of its own, not by lm-eval's rules."""
    task = benchmark.task
    by_lm_eval = type(task).process_results is ConfigurableTask.process_results
    return not by_lm_eval or task.config.process_results is not None


def right_choices(benchmark: Benchmark, item: int) -> tuple[int, ...]:
    """The indices of the right choices of a question, as lm-eval finds them."""
    task, document = benchmark.task, benchmark.documents[item]
    choices = task.doc_to_choice(document)
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    found = [gold] if isinstance(gold, int | str) else list(gold)
    indices = [choices.index(own) if own in choices else own for own in found]
    return tuple(own for own in indices if isinstance(own, int) and 0 <= own < len(choices))


def share_of_right(
    likelihoods: Sequence[float] | NDArray[np.float64], right: Sequence[int]
) -> float:
    """log (Σ p over the right choices / Σ p over all), p the choices' likelihoods; in float64."""
    values = np.asarray(likelihoods, np.float64)
    return float(np.logaddexp.reduce(values[list(right)]) - np.logaddexp.reduce(values))


def digest_of(text: str) -> int:
    """A number below 2**52, which a float holds exactly; equal for equal texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 12


def _log_likelihood(benchmark: Benchmark, item: int, answer: Answer) -> float:
    if benchmark.output_type == "multiple_choice":
        right = right_choices(benchmark, item)
        if not right:
            raise _no_right_answer(benchmark, item)
        return share_of_right(_likelihoods(benchmark, item, answer), right)
    if answer.log_likelihood is None:
        raise _no_right_answer(benchmark, item)
    return answer.log_likelihood


def _agreement(benchmark: Benchmark, item: int, answer: Answer) -> float:
    if benchmark.output_type == "multiple_choice":
        return int(np.argmax(_likelihoods(benchmark, item, answer)))
    return digest_of(str(answer.responses[0]))


def _output_length(benchmark: Benchmark, item: int, answer: Answer) -> float:
    if answer.n_tokens is None:
        raise ScoringError(f"benchmark {benchmark.name!r} generates nothing for item {item}")
    return answer.n_tokens


_OURS = {
    "log_likelihood": _log_likelihood,
    "agreement": _agreement,
    "output_length": _output_length,
}


def _likelihoods(benchmark: Benchmark, item: int, answer: Answer) -> list[float]:
    """Of the choices; where lm-eval asks for each without the question too, that comes after."""
    n_choices = len(benchmark.task.doc_to_choice(benchmark.documents[item]))
    pairs: Sequence[tuple[float, bool]] = answer.responses  # type: ignore[assignment]
    repeats = len(pairs) // len(benchmark.requests[item])
    return [pair[0] for pair in pairs[::repeats]][:n_choices]


def _no_right_answer(benchmark: Benchmark, item: int) -> ScoringError:
    return ScoringError(
        f"item {item} of benchmark {benchmark.name!r} has no single right answer that "
        "log_likelihood could be of; choose another metric of the task"
    )
