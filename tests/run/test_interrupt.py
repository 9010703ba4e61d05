"""An interrupt stays an interrupt, wherever it lands."""

import os
import signal

import pytest

from evomerge.run.interrupt import Interrupted, interruptible, seen_through


def import_interrupted_by(signum: signal.Signals) -> None:
    try:
        os.kill(os.getpid(), signum)
    except BaseException as error:
        raise ImportError("cannot import") from error


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_library_that_turns_it_into_another_error_is_seen_through(
    signum: signal.Signals, code: int
) -> None:
    with pytest.raises(Interrupted, match=signum.name) as caught, interruptible():
        import_interrupted_by(signum)
    assert caught.value.exit_code == code


def test_an_error_without_a_signal_is_left_alone() -> None:
    with pytest.raises(ImportError, match="cannot import"), interruptible():
        raise ImportError("cannot import")


def call_two_libraries() -> None:
    """Each makes an error of its own of whatever the one below raises."""
    try:
        try:
            raise Interrupted(signal.SIGTERM)
        except BaseException as error:
            raise SystemError("returned a result with an exception set") from error
    except SystemError as error:
        raise RuntimeError("cannot go on") from error


def test_an_error_with_an_interrupt_behind_it_is_that_interrupt() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), seen_through():
        call_two_libraries()


def test_seeing_through_leaves_every_other_error_alone() -> None:
    with pytest.raises(ImportError, match="cannot import"), seen_through():
        raise ImportError("cannot import") from ValueError("no interrupt")
