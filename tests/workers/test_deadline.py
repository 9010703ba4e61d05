"""A time limit interrupts what takes too long and leaves the rest alone."""

import threading
import time

import pytest

from evomerge.workers.deadline import DeadlineExceededError, deadline


def test_what_takes_too_long_is_interrupted() -> None:
    with pytest.raises(DeadlineExceededError, match=r"longer than 0\.05 s"), deadline(0.05):
        time.sleep(5)


def test_what_ends_in_time_is_not_interrupted_later() -> None:
    with deadline(0.05):
        pass
    time.sleep(0.1)


def test_without_a_limit_or_outside_the_main_thread_nothing_is_interrupted() -> None:
    finished = threading.Event()

    def work() -> None:
        with deadline(0.01):
            time.sleep(0.05)
            finished.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with deadline(None):
        assert finished.is_set()
