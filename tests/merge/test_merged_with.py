"""Merges with values of their own for each tensor, in a dtype of choice, and from any thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from evomerge.errors import UsageError
from evomerge.merge.catalogue.mergekit_options import MERGEKIT_OPTIONS, option_name
from evomerge.merge.methods import METHODS, find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

EXPERTS = ("math", "german")


@pytest.fixture
def models(model):
    base = model(0)
    return base, {name: model(seed, base=base) for seed, name in enumerate(EXPERTS, start=1)}


@pytest.mark.parametrize("method", ["linear", "ties", "della:mergekit"])
def test_the_same_values_for_all_tensors_give_what_a_recipe_gives(
    models, recipe, same_bits, method
) -> None:
    whole = recipe(method, EXPERTS, coefficient=(0.5, 0.7), seed=3)
    group = next(iter(whole.groups.values()))
    prepared = PreparedMerge(*models)
    merged = prepared.merged_with(dict.fromkeys(prepared.infos(), group), EXPERTS, seed=3)
    assert list(merged) == list(prepared.infos())
    for name, tensor in prepared.merged(whole):
        assert same_bits(merged[name], tensor)


def test_each_tensor_has_its_own_values(source) -> None:
    base = source({"a": torch.zeros(2), "b": torch.zeros(2)})
    expert = source({name: torch.full((2,), 4.0) for name in base.tensors})
    merged = PreparedMerge(base, {"e": expert}).merged_with(
        {
            "b": GroupRecipe("task_arithmetic", {"coefficient": 0.25}),
            "a": GroupRecipe("ties", {"coefficient": 0.5, "density": 1.0}),
        },
        ("e",),
    )
    assert {name: tensor.tolist() for name, tensor in merged.items()} == {
        "b": [1.0, 1.0],
        "a": [2.0, 2.0],
    }


def test_threads_give_what_one_thread_gives(models, recipe, same_bits) -> None:
    group = next(iter(recipe("ties", EXPERTS).groups.values()))
    prepared = PreparedMerge(*models)
    merged = prepared.merged_with(dict.fromkeys(prepared.infos(), group), EXPERTS)
    alone = {name: merged[name] for name in merged}
    with ThreadPoolExecutor(4) as pool:
        together = dict(
            zip(
                merged,
                pool.map(
                    PreparedMerge(*models)
                    .merged_with(dict.fromkeys(prepared.infos(), group), EXPERTS)
                    .__getitem__,
                    merged,
                ),
                strict=True,
            )
        )
    assert all(same_bits(together[name], alone[name]) for name in merged)


def test_a_dtype_rounds_once_what_would_be_rounded_to_the_bases(model, recipe) -> None:
    base = model(0, torch.float32)
    experts = {"math": model(1, torch.float32, base), "german": model(2, torch.float32, base)}
    whole = recipe("task_arithmetic", EXPERTS, coefficient=(0.3, 0.4))
    narrow = dict(PreparedMerge(base, experts, dtype=torch.bfloat16).merged(whole))
    for name, exact in PreparedMerge(base, experts).merged(whole):
        expected = exact.bfloat16() if exact.is_floating_point() else exact
        assert torch.equal(narrow[name], expected)
        assert narrow[name].dtype == expected.dtype


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
def test_a_copy_has_the_dtype_too(model, recipe, coefficient) -> None:
    base, expert = model(0), model(1)
    whole = recipe("linear", ("math",), coefficient=coefficient)
    prepared = PreparedMerge(base, {"math": expert}, dtype=torch.float32)
    copied = expert if coefficient else base
    for name, tensor in prepared.merged(whole):
        stored = copied.tensors[name]
        if not stored.is_floating_point():
            assert torch.equal(tensor, base.tensors[name])
        else:
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, stored.float())


def test_a_tensor_that_is_not_planned_is_named(models) -> None:
    prepared = PreparedMerge(*models)
    groups = dict.fromkeys(prepared.infos(), GroupRecipe("linear", {"coefficient": 1.0}))
    del groups["lm_head.weight"]
    with pytest.raises(UsageError, match="1 tensors are planned or in the base but not both, the "):
        prepared.merged_with(groups, EXPERTS)


def test_values_that_do_not_fit_name_the_tensor(models) -> None:
    prepared = PreparedMerge(*models)
    groups = dict.fromkeys(prepared.infos(), GroupRecipe("linear", {"coefficient": (1.0,)}))
    with pytest.raises(
        UsageError, match=r"tensor .*: linear\.coefficient has 1 values, expected 2"
    ):
        prepared.merged_with(groups, EXPERTS)


def test_a_tensor_that_is_not_there_is_a_key_error(models) -> None:
    prepared = PreparedMerge(*models)
    groups = dict.fromkeys(prepared.infos(), GroupRecipe("linear", {"coefficient": 1.0}))
    merged = prepared.merged_with(groups, EXPERTS)
    assert "nothing" not in merged
    assert len(merged) == len(prepared.infos())


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties", "della", "della_linear"])
def test_mergekits_own_choice_of_options_is_its_row(models, recipe, same_bits, method) -> None:
    options = {
        "ties": (True, False),
        "dare_linear": (False, True),
        "dare_ties": (False, True),
        "della": (True, True),
        "della_linear": (False, True),
    }
    normalize, rescale = options[method]
    name = option_name(method, normalize=normalize, rescale=rescale)
    values = {"coefficient": (0.5, 0.7), "density": 0.6}
    row = PreparedMerge(*models).merged(recipe(f"{method}:mergekit", EXPERTS, **values))
    same = dict(PreparedMerge(*models).merged(recipe(name, EXPERTS, **values)))
    assert all(same_bits(tensor, same[tensor_name]) for tensor_name, tensor in row)


@pytest.mark.parametrize("name", MERGEKIT_OPTIONS)
def test_rows_of_options_are_found_but_not_listed(name: str) -> None:
    assert find_method(name).name == name
    assert name not in METHODS


@pytest.mark.parametrize("name", MERGEKIT_OPTIONS)
def test_rows_of_options_leave_the_base_where_all_coefficients_are_zero(
    models, recipe, same_bits, name: str
) -> None:
    base, _ = models
    merged = PreparedMerge(*models).merged(recipe(name, EXPERTS, coefficient=0.0))
    assert all(same_bits(tensor, base.tensors[tensor_name]) for tensor_name, tensor in merged)


def test_an_unnormalised_sum_is_not_divided(source) -> None:
    base = source({"a": torch.zeros(3)})
    experts = {"x": source({"a": torch.full((3,), 2.0)}), "y": source({"a": torch.ones(3)})}
    group = GroupRecipe("linear normalize: false", {"coefficient": (1.5, 0.5)})
    merged = dict(PreparedMerge(base, experts).merged(Recipe(("x", "y"), {"other": group})))
    assert merged["a"].tolist() == [3.5] * 3


def test_without_normalisation_agreeing_changes_are_added_up(source) -> None:
    base = source({"a": torch.zeros(2)})
    experts = {"x": source({"a": torch.tensor([1.0, -1.0])}), "y": source({"a": torch.ones(2)})}
    values = {"coefficient": (0.75, 0.5), "density": 1.0, "lambda": 2.0}
    for normalize, expected in ((False, [2.5, -1.5]), (True, [2.0, -2.0])):
        name = option_name("ties", normalize=normalize, rescale=False)
        recipe = Recipe(("x", "y"), {"other": GroupRecipe(name, values)})
        merged = dict(PreparedMerge(base, experts).merged(recipe))
        assert merged["a"].tolist() == expected
