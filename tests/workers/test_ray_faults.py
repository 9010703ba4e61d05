"""Workers that die, hang or never start cost what they were doing, and nothing else."""

import functools
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.errors import InfrastructureError
from evomerge.journal.spool import Spool
from evomerge.records import Failure, ItemScores, Result
from evomerge.workers import staff
from evomerge.workers.pool import Pool
from evomerge.workers.resources import WorkerResources
from tests.workers.evaluators import (
    Obedient,
    SlowToStart,
    TimeLimited,
    die_at_start,
    fails_first,
    job,
    jobs,
    names,
    reasons,
    refuse,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OpenPool = Callable[..., Pool]
N_JOBS = 40


def results_of(pool: Pool, n: int) -> list[Result]:
    results: list[Result] = []
    while len(results) < n:
        results.extend(pool.finished())
    return results


def warm_up(pool: Pool, n_workers: int = 1) -> list[int]:
    """Process ids of the workers, each up and known to be fast."""
    pids: set[int] = set()
    while len(pids) < n_workers:
        for one in jobs(2 * n_workers, "sleep=0.05"):
            pool.submit(one)
        pids |= {int(r.worker.split(":")[1]) for r in results_of(pool, 2 * n_workers)}
    return sorted(pids)


def test_a_killed_worker_costs_the_job_that_it_ran(ray_pool: OpenPool) -> None:
    pool = ray_pool(workers=1)
    (pid,) = warm_up(pool)
    pool.submit(job("sleep=600"))
    pool.submit(job("quick:prefetched"))
    os.kill(pid, signal.SIGKILL)
    failed, survivor = results_of(pool, 2)
    assert isinstance(failed, Failure)
    assert (failed.candidate_id, failed.reason) == ("sleep=600", "worker_died")
    assert failed.worker.endswith(f":{pid}")
    assert "Worker unexpectedly exits" in failed.message
    assert isinstance(survivor, ItemScores)
    assert survivor.worker != failed.worker


def test_candidates_that_kill_their_worker_leave_the_others_alone(ray_pool: OpenPool) -> None:
    pool = ray_pool(workers=2)
    work = [job("quick:1"), job("die"), job("exit"), job("quick:2")]
    for one in work:
        pool.submit(one)
    results = results_of(pool, 4)
    assert names(results) == ["die", "exit", "quick:1", "quick:2"]
    assert reasons(results) == {"die": "worker_died", "exit": "worker_died"}


def test_a_hang_in_native_code_ends_as_a_timeout_and_the_others_go_on(ray_pool: OpenPool) -> None:
    pool = ray_pool(workers=2, timeout_s=1.0, grace_s=1.0)
    warm_up(pool, 2)
    pool.submit(job("hang"))
    for one in jobs(3, "sleep=0.1"):
        pool.submit(one)
    results = results_of(pool, 4)
    assert reasons(results) == {"hang": "timeout"}
    assert results[0].candidate_id != "hang"
    (hung,) = [result for result in results if isinstance(result, Failure)]
    assert "did not end within 1 s; its worker was killed" in hung.message


def test_the_deadline_inside_a_worker_spares_its_process(ray_pool: OpenPool) -> None:
    pool = ray_pool(functools.partial(TimeLimited, 0.3), workers=1, timeout_s=0.3)
    pool.submit(job("sleep=600"))
    (failed,) = results_of(pool, 1)
    pool.submit(job("quick"))
    (scored,) = results_of(pool, 1)
    assert isinstance(failed, Failure)
    assert failed.reason == "timeout"
    assert "took longer than 0.3 s" in failed.message
    assert scored.worker == failed.worker


def test_the_time_that_a_worker_takes_to_start_is_not_the_jobs(ray_pool: OpenPool) -> None:
    pool = ray_pool(functools.partial(SlowToStart, 3.0), workers=1, timeout_s=0.5, grace_s=0.5)
    pool.submit(job("quick"))
    assert reasons(results_of(pool, 1)) == {}


def test_a_queued_job_has_its_time_for_itself(ray_pool: OpenPool) -> None:
    pool = ray_pool(workers=1, timeout_s=1.5, grace_s=0.5)
    warm_up(pool)
    for one in jobs(2, "sleep=1.2"):
        pool.submit(one)
    assert reasons(results_of(pool, 2)) == {}


@pytest.mark.parametrize(
    ("factory", "cause"),
    [(refuse, "ModelError: no such model on this node"), (die_at_start, "3 starts in a row")],
)
def test_workers_that_never_start_are_an_error_with_its_cause(
    ray_pool: OpenPool, factory: Callable[[], Obedient], cause: str
) -> None:
    pool = ray_pool(factory, workers=1)
    pool.submit(job("quick"))
    with pytest.raises(InfrastructureError, match=cause) as caught:
        results_of(pool, 1)
    assert "evomerge doctor" in str(caught.value)


def test_a_start_that_fails_is_tried_again(ray_pool: OpenPool, tmp_path: Path) -> None:
    pool = ray_pool(functools.partial(fails_first, tmp_path / "tried"), workers=1)
    pool.submit(job("quick"))
    assert names(results_of(pool, 1)) == ["quick"]


def test_a_worker_for_which_there_is_no_room_is_waited_for_and_then_given_up(
    ray_pool: OpenPool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "FIRST_WORD_S", 0.5)
    needs = WorkerResources(num_cpus=1, custom={"unicorn": 2})
    pool = ray_pool(workers=1, resources=needs, patience_s=3.0)
    pool.submit(job("quick"))
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InfrastructureError, match="no node of the cluster had room") as caught,
    ):
        results_of(pool, 1)
    assert "CPU 1, unicorn 2" in str(caught.value)
    assert "1 of 1 workers wait for room: each takes CPU 1, unicorn 2" in caplog.text


def test_a_worker_leaves_its_result_in_the_spool(ray_pool: OpenPool, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    pool = ray_pool(workers=1, spool=spool.folder)
    pool.submit(job("quick"))
    pool.submit(job("raise=ouch"))
    results = results_of(pool, 2)
    (scored,) = [result for result in results if isinstance(result, ItemScores)]
    assert spool.collect() == [scored]


def test_a_result_in_the_spool_outlives_its_worker(ray_pool: OpenPool, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    finished = ItemScores("die", Obedient().run(job("quick")).tasks)  # type: ignore[union-attr]
    spool.put(finished)
    pool = ray_pool(workers=1, spool=spool.folder)
    pool.submit(job("die"))
    assert results_of(pool, 1) == [finished]


def test_a_spool_that_cannot_be_written_fails_nobody(ray_pool: OpenPool, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    (spool / "quick-search.json").mkdir(parents=True)
    pool = ray_pool(workers=1, spool=spool)
    pool.submit(job("quick"))
    assert reasons(results_of(pool, 1)) == {}


def test_dead_workers_are_not_told_on_the_terminal(
    ray_pool: OpenPool, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = ray_pool(workers=1)
    pool.submit(job("die"))
    results_of(pool, 1)
    time.sleep(2.0)  # Ray's message comes in a thread
    out, _ = capfd.readouterr()
    assert out == ""


def test_random_kills_lose_nothing_and_repeat_nothing(ray_pool: OpenPool) -> None:
    """Each job comes back once for each time it is submitted."""
    pool = ray_pool(workers=3)
    waiting = jobs(N_JOBS, "sleep=0.2")
    submitted: Counter[str] = Counter()
    returned: Counter[str] = Counter()
    scored: set[str] = set()
    alive: list[str] = []
    n_kills = 0
    while len(scored) < N_JOBS:
        while waiting and pool.free():
            submitted[waiting[-1].candidate_id] += 1
            pool.submit(waiting.pop())
        for result in pool.finished():
            returned[result.candidate_id] += 1
            if isinstance(result, Failure):
                assert result.reason == "worker_died"
                waiting.append(job(result.candidate_id))
            else:
                assert result.candidate_id not in scored
                scored.add(result.candidate_id)
                alive.append(result.worker)
        if len(scored) > 4 * (n_kills + 1):
            victim = alive[-1]
            alive = [worker for worker in alive if worker != victim]
            os.kill(int(victim.split(":")[1]), signal.SIGKILL)
            n_kills += 1
    assert n_kills == N_JOBS // 4 - 1
    assert returned == submitted
    assert list(pool.finished()) == []
