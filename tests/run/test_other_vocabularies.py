"""Experts whose tokenizer is padded, extended or another one take part in a search."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from evomerge.errors import ConfigError
from evomerge.run.build import load_experiment_tasks, make_plan, worker_spec
from evomerge.run.exporting import export_candidate
from evomerge.run.start import run_experiment
from evomerge.run.validate import load_experiment
from evomerge.workers.worker import Worker
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def pad(folder: Path, n: int) -> None:
    """More rows than tokens, as models have whose rows are a multiple of 64."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in TABLES:
        tensors[name] = torch.cat([tensors[name], torch.full((n, tensors[name].shape[1]), 7.0)])
    save_file({k: x.bfloat16() for k, x in tensors.items()}, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] += n
    (folder / "config.json").write_text(json.dumps(config))


def swap(folder: Path, first: int, second: int) -> None:
    """The same model with two tokens in each other's place."""
    file, path = folder / "model.safetensors", folder / "tokenizer.json"
    tensors = load_file(file)
    for name in TABLES:
        tensors[name][[first, second]] = tensors[name][[second, first]]
    save_file(tensors, file, metadata={"format": "pt"})
    data = json.loads(path.read_text())
    other = {first: second, second: first}
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = {token: other.get(i, i) for token, i in vocab.items()}
    path.write_text(json.dumps(data))


@pytest.fixture
def config(tmp_path: Path, tiny_zoo: TinyZoo) -> Path:
    """An experiment whose experts lie beside it as copies."""
    experts = {name: tmp_path / name for name in tiny_zoo.experts}
    for name, path in experts.items():
        shutil.copytree(tiny_zoo.experts[name], path)
    zoo = TinyZoo(base=tiny_zoo.base, experts=experts, tasks_path=tiny_zoo.tasks_path)
    return write_experiment(tmp_path, zoo, evaluations=6)


def merged_tables(config: Path) -> list[torch.Tensor]:
    """What a worker has in its vocabulary tables after the uniform average."""
    experiment = load_experiment(config)
    benchmarks = load_experiment_tasks(experiment)
    plan = make_plan(experiment, benchmarks)
    worker = Worker(worker_spec(plan), benchmarks)
    worker.run(plan.job(plan.baselines["uniform"], "search"))
    return [worker._model.tensors[name].clone() for name in TABLES]


def test_padding_makes_no_difference(config: Path) -> None:
    expected = merged_tables(config)
    pad(config.parent / "red", 24)
    assert all(map(torch.equal, merged_tables(config), expected))


def test_another_order_of_tokens_has_to_be_asked_for_and_makes_no_difference(config: Path) -> None:
    expected = merged_tables(config)
    swap(config.parent / "red", 50, 60)
    with pytest.raises(
        ConfigError, match=r"experts\.red: its tokenizer differs .* 2 tokens.*tokenizer: base"
    ):
        load_experiment(config)
    text = config.read_text()
    config.write_text(text.replace("merge: {", "merge: {tokenizer: base, "))
    assert all(map(torch.equal, merged_tables(config), expected))


@pytest.mark.slow
def test_a_search_over_padded_experts_exports_the_bases_vocabulary(config: Path) -> None:
    pad(config.parent / "red", 24)
    run_dir = config.parent / "run"
    assert run_experiment(config, (), run_dir) == 0
    export_candidate(run_dir, "uniform", config.parent / "out")
    exported = load_file(config.parent / "out/model.safetensors")
    n_tokens = len(AutoTokenizer.from_pretrained(config.parent / "out"))
    assert {len(exported[name]) for name in TABLES} == {n_tokens}


@pytest.mark.parametrize("tokenizer", ["union", "red", "nobody"])
def test_a_search_in_another_vocabulary_than_the_bases_is_refused(
    config: Path, tokenizer: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"merge\.tokenizer: found `{tokenizer}`, expected `base`.*transplant"
    ):
        load_experiment(config, (f"merge.tokenizer={tokenizer}",))


def test_a_damaged_tokenizer_is_located(config: Path) -> None:
    (config.parent / "red/tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"experts\.red: .*does not say which id each token has"):
        load_experiment(config)
