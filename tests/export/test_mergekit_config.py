"""The mergekit file, read by mergekit's rules: the first filter in a tensor's name decides."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.export.mergekit import ModelPaths, mergekit_config
from evomerge.export.slices import layer_of
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, ParameterValue, Recipe
from tests.export.recipes import recipe_for
from tests.tiny import TinyZoo

PATHS = ModelPaths("the/base", {"red": "the/red", "blue": "the/blue"})


@pytest.fixture
def base(tiny_zoo: TinyZoo) -> Checkpoint:
    return open_checkpoint(tiny_zoo.base)


@pytest.fixture
def experts(tiny_zoo: TinyZoo) -> dict[str, Checkpoint]:
    return {name: open_checkpoint(path) for name, path in tiny_zoo.experts.items()}


def written(recipe: Recipe, tensors: Sequence[str]) -> str:
    return mergekit_config(recipe, PATHS, tensors, dtype="bfloat16")


def read(text: str) -> dict[str, Any]:
    data: dict[str, Any] = YAML(typ="safe").load(text)
    return data


def resolved(setting: float | list[dict[str, Any]], name: str) -> float:
    """mergekit's rule for a setting."""
    if isinstance(setting, list):
        return next(row["value"] for row in setting if row.get("filter", "") in name)
    return setting


def part_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The slice with which mergekit plans a tensor: the first for embeddings, else its own."""
    layer = layer_of(name)
    parts: list[Mapping[str, Any]] = config["slices"]
    if layer is None:
        return parts[0 if "embed" in name else -1]
    ranges = [part["sources"][0]["layer_range"] for part in parts]
    (index,) = [i for i, (first, stop) in enumerate(ranges) if first <= layer < stop]
    return parts[index]


def setting(config: Mapping[str, Any], name: str, expert: str, key: str) -> float:
    sources = part_of(config, name)["sources"]
    (source,) = [source for source in sources if source["model"] == f"the/{expert}"]
    return resolved(source["parameters"][key], name)


@pytest.mark.parametrize("split", [False, True])
def test_task_arithmetic_merges_to_the_recipes_weights(
    base: Checkpoint, experts: dict[str, Checkpoint], split: bool
) -> None:
    recipe = recipe_for(list(base.infos()), split=split)
    config = read(written(recipe, list(base.infos())))
    for name, ours in PreparedMerge(base, experts).merged(recipe):
        start = base.read(name).float()
        moves = [
            setting(config, name, expert, "weight") * (source.read(name).float() - start)
            for expert, source in experts.items()
        ]
        theirs = (start + sum(moves)).to(ours.dtype)
        torch.testing.assert_close(theirs, ours, rtol=2**-7, atol=0)  # an ulp of bfloat16


def test_linear_merges_to_the_recipes_weights(
    base: Checkpoint, experts: dict[str, Checkpoint]
) -> None:
    made = recipe_for(list(base.infos()), "linear")
    nothing = GroupRecipe("linear", {"coefficient": (0.0, 0.0)})
    recipe = replace(made, groups={**made.groups, "layers.1-1": nothing})
    config = read(written(recipe, list(base.infos())))
    models = {"base": base, **experts}
    for name, ours in PreparedMerge(base, experts).merged(recipe):
        weights = {model: setting(config, name, model, "weight") for model in models}
        total = sum(w * models[model].read(name).float() for model, w in weights.items())
        theirs = (total / sum(weights.values())).to(ours.dtype)
        torch.testing.assert_close(theirs, ours, rtol=2**-7, atol=0)


def test_the_file_sums_in_float32_and_writes_the_bases_dtype(base: Checkpoint) -> None:
    config = read(written(recipe_for(list(base.infos())), list(base.infos())))
    assert (config["dtype"], config["out_dtype"]) == ("float32", "bfloat16")
    assert config["merge_method"] == "task_arithmetic"
    assert config["base_model"] == "the/base"
    assert config["parameters"] == {"normalize": False}
    assert [part["sources"][0]["layer_range"] for part in config["slices"]] == [[0, 1], [1, 2]]


def test_what_mergekit_can_say_needs_no_caveat(base: Checkpoint) -> None:
    for method in ("linear", "task_arithmetic"):
        text = written(recipe_for(list(base.infos()), method, split=True), list(base.infos()))
        assert not text.startswith("#")


def test_ties_is_scaled_by_lambda_because_mergekit_normalises(base: Checkpoint) -> None:
    names = list(base.infos())
    recipe = recipe_for(names, "ties", equal=True)
    text = written(recipe, names)
    config = read(text)
    for name in names:
        scale = resolved(part_of(config, name)["parameters"]["lambda"], name)
        assert scale == setting(config, name, "red", "weight")
        assert setting(config, name, "blue", "density") == 0.5
    assert config["parameters"] == {"normalize": True}
    assert "unlike coefficients" not in text
    assert "a few entries at the threshold can differ" in text


def test_ties_with_unlike_coefficients_says_where_it_differs(base: Checkpoint) -> None:
    text = written(recipe_for(list(base.infos()), "ties"), list(base.infos()))
    assert "(unlike coefficients)" in text
    assert "layers.0-0, layers.1-1" in text


def test_a_ties_group_without_experts_is_the_base(base: Checkpoint) -> None:
    made = recipe_for(list(base.infos()), "ties")
    nothing = GroupRecipe("ties", {"coefficient": (0.0, 0.0), "density": 0.5})
    recipe = replace(made, groups={**made.groups, "layers.0-0": nothing})
    config = read(written(recipe, list(base.infos())))
    name = "model.layers.0.mlp.up_proj.weight"
    assert resolved(part_of(config, name)["parameters"]["lambda"], name) == 0
    assert setting(config, name, "red", "weight") == 1


def test_random_masks_are_a_caveat(base: Checkpoint) -> None:
    text = written(recipe_for(list(base.infos()), "dare_ties"), list(base.infos()))
    assert "# dare_ties: mergekit draws its own random masks" in text


def test_mixed_methods_name_the_groups_that_differ(base: Checkpoint) -> None:
    made = recipe_for(list(base.infos()), "ties")
    other = GroupRecipe("task_arithmetic", {"coefficient": (0.3, 0.4)})
    text = written(replace(made, groups={**made.groups, "head": other}), list(base.infos()))
    assert "# One file holds one method, here ties." in text
    assert "#   head: task_arithmetic" in text


def test_linear_beside_task_arithmetic_becomes_shares(base: Checkpoint) -> None:
    made = recipe_for(list(base.infos()))
    average = GroupRecipe("linear", {"coefficient": (1.0, 3.0)})
    text = written(replace(made, groups={**made.groups, "layers.0-0": average}), list(base.infos()))
    config = read(text)
    assert config["merge_method"] == "task_arithmetic"
    assert setting(config, "model.layers.0.mlp.up_proj.weight", "blue", "weight") == 0.75
    assert not text.startswith("#")


def test_a_tensor_that_filters_cannot_reach_is_named() -> None:
    tensors = ["norm.weight", "layers.0.norm.weight", "layers.0.mlp.weight", "embed.weight"]
    recipe = recipe_for(tensors)
    text = written(recipe, tensors)
    assert "# mergekit's filters cannot tell these tensors" in text
    assert "#   layers.0.norm.weight" in text


def test_a_method_that_is_not_translated_is_told_and_not_guessed(base: Checkpoint) -> None:
    text = written(recipe_for(list(base.infos()), "pcb"), list(base.infos()))
    assert all(line.startswith("#") for line in text.splitlines())
    assert "Merged by pcb" in text


def test_routers_that_stay_the_bases_have_no_weight() -> None:
    layers = [f"model.layers.{i}.mlp.{x}.weight" for i in (0, 1) for x in ("gate", "experts.0.w1")]
    names = ["model.embed_tokens.weight", *layers, "model.norm.weight"]
    config = read(written(recipe_for(names), names))
    assert setting(config, "model.layers.1.mlp.gate.weight", "red", "weight") == 0
    assert setting(config, "model.layers.1.mlp.experts.0.w1.weight", "red", "weight") != 0


def groups_of(method: str, tensors: Sequence[str], **values: ParameterValue) -> Recipe:
    """A recipe with the same values everywhere, others at their defaults."""
    made = recipe_for(list(tensors))
    group = GroupRecipe(method, {**METHODS[method].defaults(), **values})
    return replace(made, groups=dict.fromkeys(made.groups, group))


@pytest.mark.parametrize(
    ("method", "values", "reason"),
    [
        ("dare_ties", {"density": (0.3, 0.6)}, "(unlike densities)"),
        ("sce:mergekit", {"coefficient": (1.0, 0.5)}, "every expert takes part alike"),
        ("model_stock", {"coefficient": 0.5}, "every expert takes part as with"),
        ("nearswap", {"coefficient": 1.0}, "it takes one expert, as with coefficient 1"),
        ("nearswap", {"coefficient": (0.5, 0.0)}, "it takes one expert, as with coefficient 1"),
        ("arcee_fusion", {"coefficient": (1.0, 0.0), "iqr": 1.0}, "its `iqr` is always 1.5"),
        ("nuslerp", {"coefficient": 0.0}, "coefficients whose sum is zero"),
        ("karcher:mergekit", {"coefficient": (0.2, 0.4)}, "every expert takes part alike"),
    ],
)
def test_numbers_that_mergekit_cannot_say_are_told_with_their_groups(
    base: Checkpoint, method: str, values: dict[str, ParameterValue], reason: str
) -> None:
    names = list(base.infos())
    comments = [
        line.removeprefix("# ")
        for line in written(groups_of(method, names, **values), names).splitlines()
        if line.startswith("#")
    ]
    assert reason in " ".join(comments)
    assert "layers.0-0, layers.1-1" in comments[-1]


def test_an_expert_that_no_group_merges_is_not_in_a_file_without_weights(base: Checkpoint) -> None:
    names = list(base.infos())
    recipe = groups_of("nearswap", names, coefficient=(0.0, 1.0), t=1e-3)
    text = written(recipe, names)
    config = read(text)
    assert not text.startswith("#")
    for part in config["slices"]:
        assert [source["model"] for source in part["sources"]] == ["the/base", "the/blue"]
        assert part["parameters"] == {"t": 1e-3}


def test_slerp_names_its_first_expert_as_mergekit_s_base(base: Checkpoint) -> None:
    names = list(base.infos())
    config = read(written(groups_of("slerp:mergekit", names, coefficient=(3.0, 1.0)), names))
    assert (config["merge_method"], config["base_model"]) == ("slerp", "the/red")
    assert config["slices"][0]["parameters"] == {"t": 0.25}


def test_dare_divides_by_the_density_through_the_weights(base: Checkpoint) -> None:
    names = list(base.infos())
    values = {"coefficient": (0.6, 0.3), "density": (0.5, 0.0)}
    config = read(written(groups_of("dare_linear", names, **values), names))
    name = "model.layers.0.mlp.up_proj.weight"
    assert config["parameters"] == {"normalize": False, "rescale": False}
    assert setting(config, name, "red", "weight") == pytest.approx(1.2)
    assert setting(config, name, "blue", "weight") == 0.0


def test_an_epsilon_that_mergekit_refuses_is_drawn_inside(base: Checkpoint) -> None:
    names = list(base.infos())
    config = read(written(groups_of("della:mergekit", names, density=0.2, epsilon=0.3), names))
    assert setting(config, "model.norm.weight", "red", "epsilon") == pytest.approx(0.1998)


def test_methods_that_no_release_has_are_told(base: Checkpoint) -> None:
    names = list(base.infos())
    text = written(groups_of("ram", names, coefficient=1.0), names)
    assert text.startswith("# ram is in no release of mergekit up to 0.1.4.")
