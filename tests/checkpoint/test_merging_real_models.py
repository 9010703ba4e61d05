"""Checkpoints and merges together, on tiny real models."""

import pytest
import torch

from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe
from tests.merge.informed import prepared


def random_recipe(method, names, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(parameter):
        span = torch.rand(2, generator=generator) * (parameter.high - parameter.low)
        values = tuple((parameter.low + span).tolist())
        return values if parameter.per_expert else values[0]

    groups = layer_groups(names, granularity=1, split_modules=True)
    return Recipe(
        ("math", "german"),
        {
            group: GroupRecipe(method, {p.name: draw(p) for p in METHODS[method].parameters})
            for group in groups
        },
    )


@pytest.fixture
def models(save):
    folders = {name: save(name, seed=seed) for seed, name in enumerate(("base", "math", "german"))}
    return folders, {name: open_checkpoint(folder) for name, folder in folders.items()}


def test_sources_are_the_same_files_after_many_candidates(models, checksums, tensors):
    folders, open_models = models
    base = open_models.pop("base")
    before = {name: checksums(folder) for name, folder in folders.items()}
    merge = prepared(base, open_models)
    live = {name: tensor.clone() for name, tensor in tensors(0).items()}
    for seed in range(12):
        for method in METHODS:
            merge.materialise(random_recipe(method, base.infos(), seed), live)
    assert {name: checksums(folder) for name, folder in folders.items()} == before
    assert all(torch.equal(base.read(name), tensor) for name, tensor in tensors(0).items())


def test_the_live_model_and_the_exported_one_compute_the_same(models, tmp_path):
    from transformers import AutoModelForCausalLM

    folders, open_models = models
    base = open_models.pop("base")
    merge = PreparedMerge(base, open_models)
    recipe = random_recipe("ties", base.infos(), seed=0)
    live = AutoModelForCausalLM.from_pretrained(folders["base"], dtype=torch.float32).eval()
    merge.materialise(recipe, dict(live.named_parameters()))
    write_checkpoint(merge.merged(recipe), tmp_path / "merged", like=base)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert exported.dtype == torch.bfloat16
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(live(tokens).logits, exported.float()(tokens).logits)


def test_integer_and_boolean_buffers_are_the_bases(save, tensors, tmp_path):
    buffers = {
        "model.layers.0.self_attn.position_ids": torch.arange(4),
        "model.layers.0.self_attn.mask": torch.tensor([[True, False]]),
        "model.layers.0.n_seen": torch.tensor(7),
    }
    others = {name: torch.zeros_like(buffer) for name, buffer in buffers.items()}
    base = open_checkpoint(save("base", tensors(0) | buffers))
    expert = open_checkpoint(save("math", tensors(1) | others))
    assert compare(base, {"math": expert}) == []
    groups = layer_groups(base.infos(), granularity=1, split_modules=False)
    recipe = Recipe(("math",), dict.fromkeys(groups, GroupRecipe("linear", {"coefficient": 1.0})))
    merged = PreparedMerge(base, {"math": expert}).merged(recipe)
    write_checkpoint(merged, tmp_path / "merged", like=base)
    written = open_checkpoint(tmp_path / "merged")
    for name, tensor in (tensors(1) | buffers).items():
        assert torch.equal(written.read(name), tensor)
        assert written.infos()[name].dtype == tensor.dtype
