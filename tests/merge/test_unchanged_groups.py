"""What a live model holds already is neither read again nor written again."""

import pytest
import torch

from evomerge.errors import NonFiniteError
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

HEAD = "lm_head.weight"


@pytest.fixture
def models(model):
    return model(0), {"a": model(1), "b": model(2)}


@pytest.fixture
def live(models):
    return {name: tensor.clone() for name, tensor in models[0].tensors.items()}


def with_head(recipe, **values):
    """The recipe with other values for the head's group."""
    head = GroupRecipe("task_arithmetic", values)
    return Recipe(recipe.experts, dict(recipe.groups) | {"head": head}, seed=recipe.seed)


def versions(live):
    return {name: tensor._version for name, tensor in live.items()}


def read_since(before, experts):
    return {
        name
        for expert, counts in before.items()
        for name, n in experts[expert].n_reads.items()
        if n > counts[name]
    }


def test_only_the_tensors_of_changed_groups_are_read_and_written(models, live, recipe, same_bits):
    base, experts = models
    merge = PreparedMerge(base, experts)
    first = recipe("linear", ("a", "b"))
    merge.materialise(first, live)
    reads = {name: dict(expert.n_reads) for name, expert in experts.items()}
    before = versions(live)
    second = with_head(first, coefficient=0.25)
    merge.materialise(second, live)
    assert read_since(reads, experts) == {HEAD}
    assert {name for name, version in versions(live).items() if version > before[name]} == {HEAD}
    for name, tensor in merge.merged(second):
        assert same_bits(live[name], tensor)


def test_another_seed_is_another_merge(models, live, recipe, same_bits):
    merge = PreparedMerge(*models)
    for seed in (0, 1):
        merge.materialise(recipe("dare_ties", ("a", "b"), seed=seed), live)
    for name, tensor in merge.merged(recipe("dare_ties", ("a", "b"), seed=1)):
        assert same_bits(live[name], tensor)


def test_other_live_tensors_are_written_though_the_recipe_is_the_same(
    models, live, recipe, same_bits
):
    merge = PreparedMerge(*models)
    values = recipe("task_arithmetic", ("a", "b"))
    merge.materialise(values, live)
    other = {name: torch.zeros_like(tensor) for name, tensor in live.items()}
    merge.materialise(values, other)
    assert all(same_bits(other[name], live[name]) for name in live)


@pytest.mark.parametrize("view", [False, True])
def test_a_tensor_that_somebody_else_wrote_to_is_written_again(
    view, models, live, recipe, same_bits
):
    merge = PreparedMerge(*models)
    values = recipe("task_arithmetic", ("a", "b"))
    merge.materialise(values, live)
    expected = live[HEAD].clone()
    (live[HEAD].view(-1)[:3] if view else live[HEAD]).fill_(9.0)
    merge.materialise(values, live)
    assert same_bits(live[HEAD], expected)


def test_an_error_makes_the_next_merge_write_what_it_may_have_touched(
    models, live, recipe, same_bits
):
    base, experts = models
    merge = PreparedMerge(base, experts)
    good = recipe("task_arithmetic", ("a", "b"))
    merge.materialise(good, live)
    expected = {name: tensor.clone() for name, tensor in live.items()}
    with pytest.raises(NonFiniteError):
        merge.materialise(recipe("task_arithmetic", ("a", "b"), coefficient=1e38), live)
    merge.materialise(good, live)
    assert all(same_bits(live[name], expected[name]) for name in live)


def test_tensors_without_a_count_of_writes_are_always_written(models, live, recipe, same_bits):
    merge = PreparedMerge(*models)
    values = recipe("task_arithmetic", ("a", "b"))
    with torch.inference_mode():
        unversioned = {name: tensor.clone() for name, tensor in live.items()}
        merge.materialise(values, unversioned)
        unversioned[HEAD].fill_(9.0)
        merge.materialise(values, unversioned)
    assert same_bits(unversioned[HEAD], dict(merge.merged(values))[HEAD])
