"""What goes wrong in an evaluation is its result; an interrupt is not."""

import pytest

from evomerge.records import Failure, Job, Recipe, Result
from evomerge.workers.evaluator import attempt

JOB = Job("candidate", Recipe((), {}), {})


class Raising:
    """Raises what a library makes of `cause`."""

    name = "here"

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause

    def run(self, job: Job) -> Result:
        try:
            raise self.cause
        except BaseException as error:
            raise ImportError("cannot import") from error


def test_an_error_is_a_failure_of_the_candidate() -> None:
    result = attempt(Raising(ValueError("shape")), JOB)
    assert isinstance(result, Failure)
    assert (result.reason, result.message) == ("exception", "ImportError: cannot import")


def test_an_interrupt_that_a_library_hides_is_no_failure_of_the_candidate() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(Raising(KeyboardInterrupt()), JOB)
