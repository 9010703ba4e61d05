"""Whole runs whose merges are of every kind: methods chosen by group, post-stages, adapters."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from evomerge.run.build import load_experiment_tasks, worker_spec
from evomerge.run.directory import read_run
from evomerge.run.exporting import export_candidate
from evomerge.run.reading import front_json
from evomerge.run.start import run_experiment
from evomerge.workers.worker import Worker
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

pytestmark = pytest.mark.slow


def with_adapters(zoo: TinyZoo, folder: Path) -> TinyZoo:
    """The zoo whose experts are random adapters of its base."""
    experts = {name: folder / name for name in zoo.experts}
    for seed, path in enumerate(experts.values()):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(zoo.base, dtype=torch.float32)
        adapted = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules="all-linear"))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.1)
        adapted.save_pretrained(path)
    return replace(zoo, experts=experts)


def full(zoo: TinyZoo, _folder: Path) -> TinyZoo:
    return zoo


KINDS: dict[str, tuple[str, Callable[[TinyZoo, Path], TinyZoo]]] = {
    "several methods": ("[task_arithmetic, ties, nearswap]", full),
    "a method by group": ("{default: linear, attention: ties, mlp: [sce, emr]}", full),
    "a post-stage": ("ties+lines", full),
    "adapters": ("ties", with_adapters),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_export_of_a_run_is_what_was_scored(
    kind: str, tiny_zoo: TinyZoo, tmp_path: Path
) -> None:
    method, make = KINDS[kind]
    zoo = make(tiny_zoo, tmp_path)
    config = write_experiment(tmp_path, zoo, evaluations=8, method=method)
    text = config.read_text()
    assert "}\nsearch:" in text
    config.write_text(text.replace("}\nsearch:", ", split_modules: true}\nsearch:"))
    run_dir = tmp_path / "run"
    assert run_experiment(config, (), run_dir) == 0

    state, plan = read_run(run_dir)
    chosen = front_json(run_dir)["front"][0]["id"]
    export_candidate(run_dir, chosen, tmp_path / "model")
    recipe = next(c.recipe for c in state.candidates.values() if c.id == chosen)
    worker = Worker(worker_spec(plan), load_experiment_tasks(plan.experiment))
    worker.run(plan.job(recipe, "search"))
    for name, tensor in load_file(tmp_path / "model" / "model.safetensors").items():
        assert torch.equal(tensor.float(), worker._model.tensors[name].float()), name
    if kind == "adapters":
        said = YAML(typ="safe").load(tmp_path / "model" / "mergekit_config.yml")
        models = [source["model"] for source in said["slices"][0]["sources"]]
        assert models == [str(zoo.base), *(f"{zoo.base}+{path}" for path in zoo.experts.values())]


def test_a_search_of_several_methods_proposes_all_of_them(
    tiny_zoo: TinyZoo, tmp_path: Path
) -> None:
    method = "{default: linear, layers: [task_arithmetic, ties]}"
    config = write_experiment(tmp_path, tiny_zoo, evaluations=8, method=method)
    assert run_experiment(config, (), tmp_path / "run") == 0
    state, _ = read_run(tmp_path / "run")
    found = {
        (group.startswith("layers"), values.method)
        for candidate in state.candidates.values()
        for group, values in candidate.recipe.groups.items()
    }
    assert found == {(False, "linear"), (True, "task_arithmetic"), (True, "ties")}
