"""What every merge method must do, for each method of the table."""

import json
import math
import re

import pytest
import torch

from evomerge.errors import NonFiniteError
from evomerge.merge import pipeline
from evomerge.merge.methods import METHODS, find_method
from evomerge.records import Recipe
from tests.merge.informed import prepared
from tests.merge.single import COMPOSED

DTYPES = (torch.bfloat16, torch.float16, torch.float32)

pytestmark = pytest.mark.parametrize("method", [*METHODS, *COMPOSED])


# Defined by lengths in units of the weights, or by functions that are not homogeneous.
NOT_HOMOGENEOUS = ("nearswap", "arcee_fusion", "pcb", "widen", "ram", "ram_plus")


def names(method):
    """As many experts as the method takes, three where it takes any number."""
    return ("a", "b", "c")[: find_method(method).n_experts or 3]


def spread(method, n_experts):
    """Uneven values inside the bounds: one for each expert, or one for all."""

    def value(parameter, place):
        return parameter.low + (parameter.high - parameter.low) * place

    return {
        parameter.name: tuple(value(parameter, 0.3 + 0.5 * i / n_experts) for i in range(n_experts))
        if parameter.per_expert
        else value(parameter, 0.6)
        for parameter in find_method(method).parameters
    }


def full(method, **values):
    """Values at which nothing of a lone expert is lost, as far as there are any."""
    return {
        parameter.name: parameter.full
        for parameter in find_method(method).parameters
        if parameter.full is not None and math.isfinite(parameter.full)
    } | values


def is_homogeneous(method):
    return re.split(r"\W", method)[0] not in NOT_HOMOGENEOUS


@pytest.fixture
def family(method, model):
    base = model(0)
    return base, {name: model(i, base=base) for i, name in enumerate(names(method), start=1)}


def test_the_table_is_consistent(method):
    record = find_method(method)
    assert record.name == method
    assert record.reference.startswith("https://")
    assert "coefficient" in record.defaults()
    for parameter in record.parameters:
        assert parameter.limits[0] <= parameter.low <= parameter.default <= parameter.high
        assert parameter.high <= parameter.limits[1]
        assert parameter.description
        assert parameter.scale == "linear" or parameter.low > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_coefficients_return_the_base_bit_for_bit(method, dtype, model, recipe, same_bits):
    base = model(0, dtype)
    base.tensors["model.norm.weight"][:2] = torch.tensor([-0.0, 1e-40]).to(dtype)
    merge = prepared(base, {"a": model(1, dtype), "b": model(2, dtype)})
    for name, tensor in merge.merged(recipe(method, ("a", "b"), coefficient=0.0)):
        assert same_bits(tensor, base.tensors[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_single_coefficient_of_one_returns_that_expert_bit_for_bit(
    method, dtype, model, recipe, same_bits
):
    if any(math.isinf(parameter.full or 0.0) for parameter in find_method(method).parameters):
        pytest.skip("always loses something of an expert")
    experts = {"a": model(1, dtype), "b": model(2, dtype)}
    one_hot = recipe(method, ("a", "b"), **full(method, coefficient=(0.0, 1.0)))
    for name, tensor in prepared(model(0, dtype), experts).merged(one_hot):
        if tensor.is_floating_point():
            assert same_bits(tensor, experts["b"].tensors[name])


def test_the_order_of_the_experts_does_not_matter(method, family, recipe, same_bits):
    base, experts = family
    values = spread(method, len(experts))
    turned = {
        name: value[::-1] if isinstance(value, tuple) else value for name, value in values.items()
    }
    forward = prepared(base, experts).merged(recipe(method, names(method), **values))
    backward = prepared(base, dict(reversed(experts.items()))).merged(
        recipe(method, names(method)[::-1], **turned)
    )
    for (name, one), (_, other) in zip(forward, backward, strict=True):
        assert same_bits(one, other), name


def test_an_expert_that_equals_the_base_changes_nothing_alone(method, model, recipe, same_bits):
    base = model(0)
    merge = prepared(base, {"a": model(0), "b": model(0)})
    for name, tensor in merge.merged(recipe(method, ("a", "b"), **spread(method, 2))):
        assert same_bits(tensor, base.tensors[name])


def test_task_vectors_scaled_by_a_power_of_two_merge_to_the_same_scaled(
    method, model, source, recipe, same_bits
):
    if not is_homogeneous(method):
        pytest.skip("not homogeneous by definition")
    base = source({name: x * 0 for name, x in model(0, torch.float32).tensors.items()})
    experts = {name: model(i, torch.float32) for i, name in enumerate(names(method))}
    tiny = {
        name: source(
            {k: x * 2.0**-40 if x.is_floating_point() else x for k, x in expert.tensors.items()}
        )
        for name, expert in experts.items()
    }
    values = recipe(method, names(method), **spread(method, len(names(method))))
    large = prepared(base, experts).merged(values)
    small = prepared(base, tiny).merged(values)
    for (_, one), (_, other) in zip(large, small, strict=True):
        if one.is_floating_point():
            assert same_bits(one * 2.0**-40, other)


def test_a_recipe_through_json_gives_the_same_merge(method, family, recipe, same_bits):
    merge = prepared(*family)
    original = recipe(method, names(method), seed=5, **spread(method, len(names(method))))
    reread = Recipe.from_json(json.loads(json.dumps(original.to_json())))
    assert reread.digest == original.digest
    for (_, one), (_, other) in zip(merge.merged(original), merge.merged(reread), strict=True):
        assert same_bits(one, other)


@pytest.mark.parametrize("live_dtype", [torch.bfloat16, torch.float32])
def test_the_live_model_holds_exactly_what_is_exported(
    method, live_dtype, family, recipe, same_bits
):
    merge = prepared(*family)
    values = recipe(method, names(method), **spread(method, len(names(method))))
    live = {
        name: torch.nn.Parameter(x.to(live_dtype, copy=True)) if x.is_floating_point() else x + 9
        for name, x in family[0].tensors.items()
    }
    merge.materialise(values, live)
    for name, exported in merge.merged(values):
        assert exported.dtype == family[0].tensors[name].dtype
        assert same_bits(live[name].detach(), exported.to(live[name].dtype))


@pytest.mark.parametrize("n_entries", [7, 24])
def test_the_size_of_the_chunks_does_not_matter(
    method, n_entries, family, recipe, same_bits, monkeypatch
):
    values = recipe(method, names(method), **spread(method, len(names(method))))
    whole = list(prepared(*family).merged(values))
    monkeypatch.setattr(pipeline, "_LARGEST_CHUNK", n_entries)
    chunked = prepared(*family).merged(values)
    for (name, one), (_, other) in zip(whole, chunked, strict=True):
        assert same_bits(one, other), name


def test_what_was_merged_before_does_not_matter(method, family, recipe, same_bits):
    used = prepared(*family)
    for other in ("dare_ties", "model_stock", "metagpt"):
        list(used.merged(recipe(other, names(method), seed=3)))
    list(used.merged(recipe(method, names(method), seed=3)))
    values = recipe(method, names(method), seed=4, **spread(method, len(names(method))))
    fresh = prepared(*family)
    for (_, one), (_, other) in zip(used.merged(values), fresh.merged(values), strict=True):
        assert same_bits(one, other)


def test_models_are_only_read(method, family, recipe, same_bits):
    base, experts = family
    before = {k: x.clone() for model in (base, *experts.values()) for k, x in model.tensors.items()}
    merge = prepared(base, experts)
    for coefficient in (0.0, 1.0, (0.2, 0.7, 0.0)[: len(experts)]):
        values = recipe(method, names(method), coefficient=coefficient)
        list(merge.merged(values))
        merge.materialise(values, {name: x.float() for name, x in base.tensors.items()})
    after = {k: x for model in (base, *experts.values()) for k, x in model.tensors.items()}
    assert all(same_bits(before[name], after[name]) for name in before)


def test_an_expert_with_coefficient_zero_is_not_read(method, family, recipe):
    base, experts = family
    list(prepared(base, experts).merged(recipe(method, ("a", "b"), coefficient=(0.5, 0.0))))
    assert sum(experts["b"].n_reads.values()) == 0


def test_integers_and_empty_tensors_are_the_base_s(method, family, recipe):
    base = family[0]
    merged = dict(prepared(*family).merged(recipe(method, names(method))))
    assert list(merged) == list(base.tensors)
    assert torch.equal(merged["model.layers.0.positions"], torch.arange(4))
    assert merged["model.layers.1.mlp.unused"].shape == (0, 4)


def test_a_merge_that_is_not_finite_names_the_tensor(method, model, recipe):
    base = model(0, torch.float16)
    experts = {name: model(i, torch.float16, base) for i, name in enumerate("ab", start=1)}
    for parent in (base, experts["a"]):
        parent.tensors["model.norm.weight"][3] = float("nan")
    with pytest.raises(NonFiniteError, match=r"merge of tensor 'model\.\S+' has \d+ entries"):
        list(prepared(base, experts).merged(recipe(method, ("a", "b"), **full(method))))
