"""A worker on another machine makes sure that it merges the driver's models."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import ModelError
from evomerge.workers.build import worker_environment
from evomerge.workers.worker import WorkerSpec, require_models
from tests.tiny import TinyZoo


@pytest.fixture
def spec(tiny_zoo: TinyZoo) -> WorkerSpec:
    folders = {"base": tiny_zoo.base, **tiny_zoo.experts}
    return WorkerSpec(
        base=tiny_zoo.base,
        experts=tiny_zoo.experts,
        dtype="float32",
        fingerprints={f"model:{n}": fingerprint(open_checkpoint(p)) for n, p in folders.items()},
    )


def test_the_same_files_elsewhere_will_do(spec: WorkerSpec, tmp_path: Path) -> None:
    shutil.copytree(spec.base, tmp_path / "copy")
    require_models(dataclasses.replace(spec, base=tmp_path / "copy"))


def test_another_model_is_refused_by_its_name(spec: WorkerSpec) -> None:
    swapped = {"red": spec.experts["blue"], "blue": spec.experts["blue"]}
    with pytest.raises(ModelError, match=r"the model red in .* on .* is not the one that the run"):
        require_models(dataclasses.replace(spec, experts=swapped))


def test_a_model_that_is_not_there_is_refused(spec: WorkerSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        require_models(dataclasses.replace(spec, base=tmp_path / "nowhere"))


def test_a_worker_is_pinned_to_its_threads_and_stays_off_the_network(
    spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    found = worker_environment(dataclasses.replace(spec, threads=3))
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "3"
    assert found["TOKENIZERS_PARALLELISM"] == "false"
    assert found["HF_HUB_OFFLINE"] == "1"
    assert "HF_DATASETS_OFFLINE" not in found
