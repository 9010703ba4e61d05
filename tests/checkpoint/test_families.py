"""Every family merges: opened, merged, written, loaded, and alike in memory and on disk."""

from itertools import cycle

import pytest
import torch

from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.merge.groups import assign, layer_groups
from evomerge.merge.methods import find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe
from evomerge.scoring.resident import ResidentModel
from tests.families import FAMILIES, auto_class, save_family
from tests.tiny import write_tokenizer

torch.set_num_threads(1)


def mixed_recipe(groups):
    """Another method for each group, with its defaults."""
    recipes = {}
    for group, name in zip(groups, cycle(["ties", "linear", "dare_ties"]), strict=False):
        method = find_method(name)
        recipes[group] = GroupRecipe(name, method.defaults())
    return Recipe(("math", "german"), recipes)


@pytest.fixture(params=FAMILIES)
def merge(request, tmp_path):
    """A family, its opened models, and a merge of them."""
    family = request.param
    folders = [
        save_family(tmp_path / name, family, seed)
        for seed, name in enumerate(("base", "math", "german"))
    ]
    base, math, german = map(open_checkpoint, folders)
    experts = {"math": math, "german": german}
    assert compare(base, experts) == []
    groups = layer_groups(base.infos(), granularity=1, split_modules=True)
    return family, base, groups, PreparedMerge(base, experts), mixed_recipe(groups)


def test_a_merge_has_the_keys_shapes_and_dtypes_of_the_base_and_loads(merge, tmp_path):
    family, base, groups, prepared, recipe = merge
    assert groups[0] == "embeddings"
    assert {group.split(".")[1] for group in groups if "." in group} == {"0-0", "1-1"}
    assert "other" not in assign(base.infos(), groups).values() or family == "t5"
    write_checkpoint(prepared.merged(recipe), tmp_path / "merged", like=base, shard_bytes=8_000)
    assert (tmp_path / "merged/model.safetensors.index.json").is_file()
    merged = open_checkpoint(tmp_path / "merged")
    assert {n: (i.shape, i.dtype) for n, i in merged.infos().items()} == {
        n: (i.shape, i.dtype) for n, i in base.infos().items()
    }
    assert all(merged.read(name).isfinite().all() for name in merged.infos())
    assert any(not torch.equal(merged.read(name), base.read(name)) for name in base.infos())
    _, report = auto_class(family).from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(report.values())


def test_the_live_merge_computes_what_the_written_one_does(merge, tmp_path):
    family, base, _, prepared, recipe = merge
    if family == "t5":
        pytest.skip("an encoder-decoder is merged on disk only: candidates are causal models")
    write_tokenizer(base.path)
    live = ResidentModel.from_folder(base.path, dtype=torch.float32)
    prepared.materialise(recipe, live.tensors)
    write_checkpoint(prepared.merged(recipe), tmp_path / "merged", like=base)
    written = auto_class(family).from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    tokens = torch.arange(2, 14)[None]
    with torch.no_grad():
        assert torch.equal(live.model(tokens).logits, written(tokens).logits)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("routers", [False, True])
def test_routers_are_the_bases_unless_they_are_to_be_merged(family, routers, tmp_path):
    base, expert = (
        open_checkpoint(save_family(tmp_path / str(seed), family, seed)) for seed in (0, 1)
    )
    names = base.infos()
    groups = layer_groups(names, granularity=1, split_modules=True, routers=routers)
    group = GroupRecipe("linear", {"coefficient": 1.0})
    merged = dict(
        PreparedMerge(base, {"math": expert}).merged(
            Recipe(("math",), dict.fromkeys(groups, group))
        )
    )
    for name in names:
        source = base if name.endswith(".gate.weight") and not routers else expert
        assert torch.equal(merged[name], source.read(name))
