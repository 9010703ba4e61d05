"""What a prepared merge refuses, and that groups of one recipe are merged apart."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import ModelError, ShapeError, UsageError
from evomerge.merge.pipeline import row_spans
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe


@pytest.fixture
def merge(model):
    return PreparedMerge(model(0), {"math": model(1), "german": model(2)})


def live_copy(source):
    return {name: tensor.clone() for name, tensor in source.tensors.items()}


def test_each_group_has_its_own_method_and_values(source):
    base = source({"model.layers.0.a": torch.zeros(2), "model.layers.1.a": torch.zeros(2)})
    expert = source({name: torch.full((2,), 4.0) for name in base.tensors})
    recipe = Recipe(
        ("e",),
        {
            "layers.0-0": GroupRecipe("task_arithmetic", {"coefficient": 0.25}),
            "layers.1-1": GroupRecipe("ties", {"coefficient": 0.5, "density": 1.0}),
        },
    )
    merged = dict(PreparedMerge(base, {"e": expert}).merged(recipe))
    assert merged["model.layers.0.a"].tolist() == [1.0, 1.0]
    assert merged["model.layers.1.a"].tolist() == [2.0, 2.0]


def test_an_expert_without_a_tensor_of_the_base_is_refused(model):
    expert = model(1)
    del expert.tensors["model.norm.weight"]
    with pytest.raises(ModelError, match=r"expert 'math' lacks 1 of the base's 10 tensors.*norm"):
        PreparedMerge(model(0), {"math": expert})


def test_an_expert_of_another_shape_is_refused(model):
    expert = model(1)
    expert.tensors["lm_head.weight"] = torch.zeros(12, 8)
    with pytest.raises(ShapeError, match=r"'lm_head.weight' of expert 'math' has shape \(12, 8\)"):
        PreparedMerge(model(0), {"math": expert})


def test_a_live_model_without_a_tensor_is_refused_before_anything_is_written(merge, model, recipe):
    live = live_copy(model(0))
    del live["lm_head.weight"]
    before = {name: tensor.clone() for name, tensor in live.items()}
    with pytest.raises(ModelError, match=r"live model lacks 1 of the base's 10 tensors.*lm_head"):
        merge.materialise(recipe("linear", ("math",)), live)
    assert all(torch.equal(live[name], before[name]) for name in live)


def test_a_live_tensor_of_another_shape_is_refused(merge, model, recipe):
    live = live_copy(model(0)) | {"model.norm.weight": torch.zeros(9)}
    with pytest.raises(ShapeError, match=r"live tensor 'model.norm.weight' has shape \(9,\)"):
        merge.materialise(recipe("linear", ("math",)), live)


def test_a_live_model_that_is_the_base_itself_is_refused(model, recipe):
    base = model(0)
    merge = PreparedMerge(base, {"math": model(1)})
    with pytest.raises(ModelError, match="shares its memory with the base"):
        merge.materialise(recipe("linear", ("math",)), base.tensors)


def test_live_tensors_that_the_base_does_not_have_are_left_alone(merge, model, recipe):
    live = live_copy(model(0)) | {"extra": torch.ones(2)}
    merge.materialise(recipe("linear", ("math",)), live)
    assert live["extra"].tolist() == [1.0, 1.0]


def test_a_live_tensor_need_not_be_contiguous(merge, model, recipe):
    live = live_copy(model(0)) | {"lm_head.weight": torch.zeros(8, 11).T}
    values = recipe("task_arithmetic", ("math", "german"))
    merge.materialise(values, live)
    assert torch.equal(live["lm_head.weight"], dict(merge.merged(values))["lm_head.weight"].float())


def refusal(merge, recipe):
    with pytest.raises(UsageError) as caught:
        merge.merged(recipe)
    return str(caught.value)


def test_an_unknown_expert_is_refused_with_the_nearest_name(merge, recipe):
    message = refusal(merge, recipe("linear", ("mth",)))
    assert message.startswith("the recipe merges expert 'mth', but only math, german are open")
    assert message.endswith("did you mean 'math'?")


def test_a_method_for_two_experts_refuses_one(merge, recipe):
    message = refusal(merge, recipe("slerp", ("math",)))
    assert message.endswith(
        "slerp was given 1 experts (math), expected exactly 2; choose among them, or another method"
    )


def one_group(recipe, method, **values):
    whole = recipe("linear", ("math", "german"))
    groups = dict(whole.groups) | {"head": GroupRecipe(method, values)}
    return Recipe(whole.experts, groups)


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("tyes", {}, "layer group head: method 'tyes' is not known.*did you mean 'ties'"),
        ("ties", {"coefficient": 1.0}, "ties was given coefficient, expected exactly coefficient"),
        ("linear", {"coefficient": 1.0, "x": 1.0}, "linear was given coefficient, x, expected"),
        ("linear", {"coefficient": (1.0,)}, "linear.coefficient has 1 values, expected 2"),
        ("linear", {"coefficient": float("nan")}, "coefficient is nan, expected a finite number"),
        ("ties", {"coefficient": 1.0, "density": 1.2}, "ties.density is 1.2, expected a fraction"),
        (
            "nearswap",
            {"coefficient": 1.0, "t": -1.0},
            "nearswap.t is -1.0, expected a number from 0 to inf",
        ),
        (
            "varm",
            {"coefficient": 1.0, "power": (1.0, 2.0)},
            r"varm.power has values that differ, \(1.0, 2.0\), expected a single number",
        ),
    ],
)
def test_unusable_values_are_refused_at_once(merge, recipe, method, values, message):
    with pytest.raises(UsageError, match=message):
        merge.merged(one_group(recipe, method, **values))


@given(st.lists(st.integers(1, 9), max_size=3), st.integers(1, 40))
def test_spans_cover_a_tensor_in_whole_rows(shape, n_largest):
    spans = row_spans(shape, n_largest)
    n = int(torch.tensor(shape).prod()) if shape else 1
    row = n // shape[0] if shape else 1
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(n))
    assert all(span.stop - span.start <= n_largest for span in spans)
    if row <= n_largest:
        assert all(span.start % row == 0 for span in spans)
