"""What workers measure beside tasks, in this process and on Ray."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evomerge.journal.spool import Spool
from evomerge.records import GroupRecipe, ItemScores, Job, Recipe
from evomerge.scoring.kept_logits import read_logits
from evomerge.scoring.model_size import ModelBenchmark
from evomerge.scoring.scorers import AnyBenchmark
from evomerge.scoring.text_benchmark import load_text
from evomerge.workers.build import open_pool
from evomerge.workers.pool import Pool
from evomerge.workers.references import Reference
from evomerge.workers.worker import Worker, WorkerSpec
from tests.texts import sentences, write_jsonl, write_plain
from tests.tiny import TinyZoo

GROUPS = ("embeddings", "layers.0-0", "layers.1-1", "final_norm", "head")
ITEMS = {"text:docs": (0, 3, 5), "text:prompts": (2, 1, 7), "model": (0,)}


def recipe(method: str, *coefficients: float) -> Recipe:
    group = GroupRecipe(method, {"coefficient": coefficients})
    return Recipe(("red", "blue"), dict.fromkeys(GROUPS, group))


BASE = recipe("task_arithmetic", 0.0, 0.0)
RED = recipe("linear", 1.0, 0.0)
MIXED = recipe("task_arithmetic", 0.5, 0.4)


def job(of: Recipe, items: dict[str, tuple[int, ...]] | None = None) -> Job:
    return Job(of.digest, of, ITEMS if items is None else items)


@pytest.fixture
def benchmarks(tmp_path: Path, tiny_zoo: TinyZoo) -> dict[str, AnyBenchmark]:
    docs = write_jsonl(tmp_path / "docs.jsonl", sentences(8))
    prompts = write_plain(tmp_path / "prompts.txt", sentences(8, seed=1))
    return {
        "text:docs": load_text("text:docs", "perplexity", docs, model=tiny_zoo.base),
        "text:prompts": load_text("text:prompts", "kl", prompts, model=tiny_zoo.base),
        "model": ModelBenchmark(("parameters", "layers")),
    }


@pytest.fixture
def spec(tmp_path: Path, tiny_zoo: TinyZoo) -> WorkerSpec:
    """Of workers that compare with the expert `red`."""
    return WorkerSpec(
        base=tiny_zoo.base,
        experts=tiny_zoo.experts,
        dtype="float32",
        references={"text:prompts": Reference(RED, tmp_path / ".cache" / "red.safetensors")},
    )


def test_a_worker_measures_everything_of_a_merge(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark]
) -> None:
    scores = Worker(spec, benchmarks).run(job(MIXED)).tasks
    assert {key: own.items for key, own in scores.items()} == {
        "text:docs:perplexity": (0, 3, 5),
        "text:prompts:kl": (2, 1, 7),
        "model:parameters": (0,),
        "model:layers": (0,),
    }
    assert len(scores["text:docs:perplexity"].weights) == 3
    assert min(scores["text:prompts:kl"].values) > 1e-4


def test_a_reference_is_at_nothing_from_itself_and_others_are_not(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark]
) -> None:
    worker = Worker(spec, benchmarks)
    far, none = (worker.run(job(own)).tasks["text:prompts:kl"] for own in (BASE, RED))
    assert max(none.values) < 1e-9
    assert min(far.values) > 1e-4


def test_a_candidate_scores_the_same_whether_the_reference_was_known(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark]
) -> None:
    worker = Worker(spec, benchmarks)
    first = worker.run(job(MIXED))
    worker.run(job(BASE, {"text:prompts": (0, 3, 4)}))
    again = worker.run(job(MIXED))
    assert again.tasks == first.tasks == Worker(spec, benchmarks).run(job(MIXED)).tasks


def test_another_worker_finds_the_references_logits(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec.references["text:prompts"].path
    first = Worker(spec, benchmarks).run(job(MIXED))
    assert read_logits(path).keys() == {1, 2, 7}

    merged: list[Recipe] = []
    worker = Worker(spec, benchmarks)
    materialise = worker._merge.materialise
    monkeypatch.setattr(
        worker._merge, "materialise", lambda own, to: merged.append(own) or materialise(own, to)
    )
    assert worker.run(job(MIXED)).tasks == first.tasks
    assert merged == [MIXED]
    worker.run(job(MIXED, {"text:prompts": (1, 6)}))
    assert merged == [MIXED, RED, MIXED]
    assert read_logits(path).keys() == {1, 2, 6, 7}


def test_a_damaged_file_of_logits_is_written_anew(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark]
) -> None:
    path = spec.references["text:prompts"].path
    first = Worker(spec, benchmarks).run(job(MIXED))
    kept = read_logits(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert Worker(spec, benchmarks).run(job(MIXED)).tasks == first.tasks
    assert all(torch.equal(logits, kept[item]) for item, logits in read_logits(path).items())


def test_where_the_run_directory_is_not_there_the_users_cache_is(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark], tmp_path: Path
) -> None:
    elsewhere = Reference(RED, tmp_path / "no" / "such" / ".cache" / "red-elsewhere.safetensors")
    moved = dataclasses.replace(spec, references={"text:prompts": elsewhere})
    Worker(moved, benchmarks).run(job(MIXED))
    assert not (tmp_path / "no").exists()
    assert read_logits(elsewhere.file).keys() == {1, 2, 7}


@pytest.mark.ray
@pytest.mark.slow
def test_ray_workers_measure_the_same(
    spec: WorkerSpec, benchmarks: dict[str, AnyBenchmark], tmp_path: Path
) -> None:
    def scores(pool: Pool) -> list[ItemScores]:
        found = []
        for own in (BASE, RED, MIXED):
            pool.submit(job(own))
            found += [result for result in pool.finished() if isinstance(result, ItemScores)]
        pool.close()
        return found

    open_one: Callable[[int], Pool] = lambda n: open_pool(  # noqa: E731
        spec, benchmarks=benchmarks, workers=n, spool=Spool(tmp_path / "spool").folder
    )
    here, there = scores(open_one(0)), scores(open_one(1))
    assert len(there) == 3
    assert [result.tasks for result in here] == [result.tasks for result in there]
