"""An interrupt stays an interrupt, wherever it lands."""

import os
import signal

import pytest

from evomerge.run.interrupt import Interrupted, interruptible


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
