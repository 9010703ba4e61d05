"""Whatever is killed, full or hung: every candidate has one outcome, and none is told twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disk import can_mount

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of this process for pools of four."""
    from evomerge.workers.cluster import connect

    connected = connect(None, workers=4)
    yield
    connected.disconnect()


@pytest.mark.timeout(900)
def test_a_random_worker_killed_every_five_seconds(cluster: None, tmp_path: Path) -> None:
    from tests.chaos.faults import workers_killed

    report = workers_killed(tmp_path, compare=False)
    assert report.n_struck >= 10
    assert (report.lost, report.account.repeated) == (0, 0)
    assert len(report.account.told) == 300
    assert 0 < report.account.retried <= report.n_struck


def test_candidates_that_kill_their_worker_are_given_up_and_the_others_finish(
    cluster: None, tmp_path: Path
) -> None:
    from tests.chaos.evaluators import is_chosen
    from tests.chaos.faults import candidates_struck
    from tests.chaos.made_up import failures_in

    report = candidates_struck(tmp_path, "death")
    assert (report.lost, report.account.repeated) == (0, 0)
    failed = failures_in(tmp_path / "death" / "journal.db")
    assert failed
    assert all(is_chosen(id_, 10) and reason == "worker_died" for id_, reason in failed)
    assert report.account.retried == 2 * len(failed)


def test_candidates_that_hang_time_out_and_the_others_finish(cluster: None, tmp_path: Path) -> None:
    from tests.chaos.faults import candidates_struck
    from tests.chaos.made_up import failures_in

    report = candidates_struck(tmp_path, "hang", n=30)
    assert (report.lost, report.account.repeated) == (0, 0)
    assert {reason for _, reason in failures_in(tmp_path / "hang" / "journal.db")} == {"timeout"}


def test_candidates_that_score_nan_are_no_numbers(cluster: None, tmp_path: Path) -> None:
    from tests.chaos.faults import candidates_struck
    from tests.chaos.made_up import failures_in

    report = candidates_struck(tmp_path, "nan")
    assert (report.lost, report.account.repeated, report.account.retried) == (0, 0, 0)
    assert {reason for _, reason in failures_in(tmp_path / "nan" / "journal.db")} == {"non_finite"}


@pytest.mark.timeout(900)
def test_the_driver_killed_ten_times(tmp_path: Path) -> None:
    from tests.chaos.faults import driver_killed

    report = driver_killed(tmp_path / "run", n=120, n_kills=10)
    assert (report.lost, report.account.repeated) == (0, 0)
    assert report.account.told == tuple(range(120))


@pytest.mark.skipif(not can_mount(), reason="making a small disk takes the right to mount a tmpfs")
def test_a_full_disk_stops_the_search_which_goes_on_once_there_is_room(tmp_path: Path) -> None:
    from tests.chaos.faults import disk_full

    report = disk_full(tmp_path)
    assert (report.lost, report.account.repeated) == (0, 0)


@pytest.mark.timeout(900)
def test_a_node_killed_and_another_joining(tmp_path: Path) -> None:
    from tests.chaos.faults import node_lost

    report = node_lost(tmp_path)
    assert (report.lost, report.account.repeated) == (0, 0)
    assert report.account.told == tuple(range(report.n_expected))
