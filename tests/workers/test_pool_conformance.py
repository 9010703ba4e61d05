"""What every pool promises, and that where a job is evaluated does not change its scores."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from evomerge.records import Failure, GroupRecipe, ItemScores, Job, Recipe, Result
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.workers.build import worker_environment
from evomerge.workers.in_process import InProcessPool
from evomerge.workers.pool import Pool
from evomerge.workers.worker import Worker, WorkerSpec
from tests.tiny import TinyZoo
from tests.workers.evaluators import Obedient, job, jobs, names, reasons

RAY = (pytest.mark.ray, pytest.mark.slow)


@pytest.fixture(scope="module", params=["in process", pytest.param("ray", marks=RAY)])
def open_pool(request: pytest.FixtureRequest) -> Callable[[], Pool]:
    if request.param == "in process":
        return lambda: InProcessPool(Obedient())
    open_ray_pool: Callable[..., Pool] = request.getfixturevalue("ray_pool")
    return open_ray_pool


@pytest.fixture(scope="module")
def pool(open_pool: Callable[[], Pool]) -> Pool:
    """One pool for all: a test takes back whatever it submits."""
    return open_pool()


def run_all(pool: Pool, work: Sequence[Job]) -> list[Result]:
    """Hand out and take in as the loop does."""
    waiting, results = deque(work), []
    while waiting or len(results) < len(work):
        while waiting and pool.free():
            pool.submit(waiting.popleft())
        results.extend(pool.finished())
    return results


def test_every_job_comes_back_exactly_once(pool: Pool) -> None:
    results = run_all(pool, jobs(40))
    assert names(results) == names(jobs(40))
    assert reasons(results) == {}


def test_a_job_submitted_twice_comes_back_twice(pool: Pool) -> None:
    assert names(run_all(pool, [job("quick"), job("quick")])) == ["quick", "quick"]


def test_a_result_is_what_the_evaluator_returned(pool: Pool) -> None:
    work = [job("quick"), Job("quick:test", job("").recipe, {"task": (9, 8)}, "test")]
    results = sorted(run_all(pool, work), key=lambda result: result.candidate_id)
    evaluator = Obedient()
    for result, expected in zip(results, map(evaluator.run, work), strict=True):
        assert isinstance(result, ItemScores)
        assert isinstance(expected, ItemScores)
        assert (result.tasks, result.phase) == (expected.tasks, expected.phase)


def test_an_evaluator_that_raises_is_a_failure_and_goes_on(pool: Pool) -> None:
    results = run_all(pool, [job("raise=ouch"), job("quick")])
    failed = next(result for result in results if isinstance(result, Failure))
    assert (failed.candidate_id, failed.reason) == ("raise=ouch", "exception")
    assert failed.message == "ValueError: ouch"
    assert failed.worker
    assert names(results) == ["quick", "raise=ouch"]


def test_a_score_that_is_not_finite_is_a_failure(pool: Pool) -> None:
    (result,) = run_all(pool, [job("nan")])
    assert isinstance(result, Failure)
    assert result.reason == "non_finite"
    assert "task item 3 scored nan" in result.message


def test_nothing_under_way_is_nothing_finished(pool: Pool) -> None:
    assert list(pool.finished()) == []
    run_all(pool, jobs(3))
    assert list(pool.finished()) == []


def test_there_is_never_less_than_no_room(pool: Pool) -> None:
    room = pool.free()
    assert room > 0
    for number in range(room):
        assert pool.free() == room - number
        pool.submit(job(f"quick:{number}"))
    assert pool.free() == 0
    n_back = 0
    while n_back < room:
        n_back += sum(1 for _ in pool.finished())
        assert pool.free() >= 0
    assert pool.free() == room


def test_results_that_were_not_taken_are_there_the_next_time(pool: Pool) -> None:
    for number in range(pool.free()):
        pool.submit(job(f"quick:{number}"))
    first = next(pool.finished())
    n_left = 1
    while rest := list(pool.finished()):
        n_left += len(rest)
        assert first.candidate_id not in names(rest)


def test_a_pool_can_be_closed_twice_and_with_work_under_way(
    open_pool: Callable[[], Pool],
) -> None:
    pool = open_pool()
    pool.submit(job("sleep=0.5"))
    pool.close()
    pool.close()


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_share_the_work(ray_pool: Callable[..., Pool]) -> None:
    pool = ray_pool()
    run_all(pool, jobs(4, "sleep=1"))  # the second worker may come up long after the first
    results = run_all(pool, jobs(30, "sleep=0.1"))
    workers = Counter(result.worker for result in results)
    assert len(workers) == 2
    assert min(workers.values()) >= 5


def a_few_merges() -> list[Job]:
    """Three merges of the tiny zoo and the items on which they are scored."""
    items = {"words_search": tuple(range(12)), "choice_search": tuple(range(5, 25))}
    recipes = [
        Recipe(
            experts=("red", "blue"),
            groups={
                group: GroupRecipe("task_arithmetic", {"coefficient": (red, 1.0 - red)})
                for group in ("embeddings", "layers.0-1", "final_norm", "head")
            },
        )
        for red in (0.0, 0.4, 1.0)
    ]
    return [Job(recipe.digest, recipe, items) for recipe in recipes]


def spec_of(zoo: TinyZoo) -> WorkerSpec:
    return WorkerSpec(
        base=zoo.base,
        experts=zoo.experts,
        dtype="float32",
    )


def scores(pool: Pool) -> dict[str, object]:
    results = run_all(pool, a_few_merges())
    assert reasons(results) == {}
    return {
        result.candidate_id: result.tasks for result in results if isinstance(result, ItemScores)
    }


@pytest.mark.ray
@pytest.mark.slow
def test_scores_are_the_same_with_any_number_of_workers(
    tiny_zoo: TinyZoo, cluster: Any, ray_pool: Callable[..., Pool]
) -> None:
    import ray

    from evomerge.workers.ray_workers import WorkerFactory

    spec = spec_of(tiny_zoo)
    benchmarks = load_benchmarks(tiny_zoo.search_tasks, tasks_path=tiny_zoo.tasks_path)
    alone = scores(InProcessPool(Worker(spec, benchmarks)))
    assert len(alone) == 3
    tasks = ray.put({name: benchmark.portable() for name, benchmark in benchmarks.items()})
    factory, environment = WorkerFactory(spec, tasks, cluster.node), worker_environment(spec)
    for workers in (1, 2):
        assert scores(ray_pool(factory, workers=workers, environment=environment)) == alone
