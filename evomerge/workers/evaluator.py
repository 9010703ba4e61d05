"""What a pool asks of whoever evaluates: a job in, a result out, and every error a result too."""

import math
from typing import Protocol

from evomerge.errors import NonFiniteError
from evomerge.records import Failure, Job, Result
from evomerge.workers.deadline import DeadlineExceededError

LONGEST_MESSAGE = 2000
"""Characters of a failure's message that the journal keeps."""

REASONS: tuple[tuple[type[Exception], str], ...] = (
    (NonFiniteError, "non_finite"),
    (DeadlineExceededError, "timeout"),
    (Exception, "exception"),
)
"""The word under which an error of an evaluation is counted: that of the first that fits."""


class Evaluator(Protocol):
    """Evaluates one job at a time."""

    name: str
    """Where it works, as results tell it: `host:pid`."""

    def run(self, job: Job) -> Result:
        """The result of the job; whatever this raises, `attempt` makes a failure of."""


def attempt(evaluator: Evaluator, job: Job) -> Result:
    """Run the job; what goes wrong in it is its result, not an exception.

    An interrupt of the process is no fault of the candidate, even if a library has made an error
    of it: it is raised.
    """
    try:
        return _finite(evaluator.run(job))
    except Exception as error:  # a candidate that cannot be evaluated must not end the search
        if (interrupt := _interrupt_behind(error)) is not None:
            raise interrupt from error
        reason = next(word for kind, word in REASONS if isinstance(error, kind))
        return failure(job, reason, f"{type(error).__name__}: {error}", evaluator.name)


def _interrupt_behind(error: BaseException) -> BaseException | None:
    """What is no `Exception` among the causes of an error."""
    cause: BaseException | None = error
    while isinstance(cause, Exception):
        cause = cause.__cause__ or cause.__context__
    return cause


def failure(job: Job, reason: str, message: str, worker: str) -> Failure:
    """The failure of a job, its message no longer than a journal should hold."""
    return Failure(job.candidate_id, reason, message[:LONGEST_MESSAGE], job.phase, worker)


def _finite(result: Result) -> Result:
    """The result, every score of it a number that a journal can hold."""
    if not isinstance(result, Failure):
        for task, scores in result.tasks.items():
            for numbers in (scores.values, scores.weights):
                for item, number in zip(scores.items, numbers, strict=False):
                    if not math.isfinite(number):
                        raise NonFiniteError(f"{task} item {item} scored {number}")
    return result
