"""Methods that know the experts' texts: formulas in float64, laws, and the references' traps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.errors import ShapeError, UsageError
from evomerge.merge.prepared import PreparedMerge
from tests.merge.memory import MemorySource
from tests.merge.single import NAMES, assert_close, column, merge_arrays, merge_models

MATRIX = "model.layers.0.mlp.up_proj.weight"


def known(kind, *values, name=MATRIX):
    """Statistics of one tensor, one a model."""
    models = ("base",) if kind == "activations" else NAMES
    return {
        kind: {
            model: MemorySource({name: torch.as_tensor(x)})
            for model, x in zip(models, values, strict=False)
        }
    }


def regmean(weights, grams, *, coefficient=1.0, off_diagonal=0.9, name=MATRIX):
    """The merge of single matrices; where `grams` are keyed otherwise, `name` says it."""
    key = name.removesuffix(":rows")
    return merge_arrays(
        "regmean",
        torch.zeros_like(weights[0]),
        weights,
        name=key,
        statistics=known("grams", *grams, name=name),
        coefficient=coefficient,
        off_diagonal=off_diagonal,
    )


def drawn(seed, n, n_outputs, d, n_tokens=40):
    """Weights `(n, n_outputs, d)` and the inputs of each expert `(n, n_tokens, d)`, float32."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, n_outputs, d, generator=generator)
    mixing = torch.randn(n, d, d, generator=generator)
    return weights, torch.randn(n, n_tokens, d, generator=generator) @ mixing


def gram_of(inputs):
    return inputs.transpose(-1, -2) @ inputs / inputs.shape[-2]


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(0.1, 1.5), min_size=2, max_size=4),
    st.integers(2, 6),
    st.integers(2, 8),
    st.floats(0.1, 0.95),
)
def test_regmean_is_the_closed_form_of_the_paper(seed, coefficients, n_outputs, d, off_diagonal):
    weights, inputs = drawn(seed, len(coefficients), n_outputs, d)
    grams = gram_of(inputs)
    merged = regmean(
        list(weights), grams, coefficient=tuple(coefficients), off_diagonal=off_diagonal
    )
    g, w = grams.double(), weights.double()
    shrunk = off_diagonal * g + (1 - off_diagonal) * torch.diag_embed(torch.diagonal(g, 0, 1, 2))
    shrunk *= column(coefficients, shrunk)
    right = (shrunk @ w.transpose(1, 2)).sum(0)
    expected = torch.linalg.solve(shrunk.sum(0), right).T
    assert torch.allclose(merged.double(), expected, rtol=1e-4, atol=1e-4)


def test_no_other_matrix_is_closer_to_the_experts_outputs():
    weights, inputs = drawn(0, 3, 4, 6)
    merged = regmean(list(weights), gram_of(inputs), off_diagonal=1.0).double().requires_grad_()
    losses = [
        (x.double() @ (merged - w.double()).T).square().sum()
        for x, w in zip(inputs, weights, strict=True)
    ]
    loss = torch.stack(losses).sum()
    loss.backward()
    assert merged.grad.abs().max() < 1e-4 * loss.item()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.integers(1, 12))
def test_equal_grams_give_the_mean_however_few_tokens_they_come_from(seed, off_diagonal, n_tokens):
    weights, inputs = drawn(seed, 3, 4, 8, n_tokens)
    gram = gram_of(inputs[0])
    merged = regmean(
        list(weights), [gram] * 3, coefficient=(0.5, 1.0, 0.25), off_diagonal=off_diagonal
    )
    mean = (weights.double() * torch.tensor([0.5, 1.0, 0.25]).view(3, 1, 1)).sum(0) / 1.75
    assert_close(merged, mean)


def test_equal_experts_merge_to_themselves_bit_for_bit_whatever_their_grams():
    weights, inputs = drawn(1, 3, 4, 8)
    merged = regmean([weights[0]] * 3, gram_of(inputs), coefficient=(0.3, 0.9, 0.2))
    assert torch.equal(merged, weights[0])


@pytest.mark.parametrize("off_diagonal", [0.5, 1.0])
def test_inputs_that_no_text_uses_have_the_mean_and_the_rest_its_solution(off_diagonal):
    weights, inputs = drawn(2, 2, 4, 8)
    inputs[:, :, 5:] = 0.0
    merged = regmean(list(weights), gram_of(inputs), off_diagonal=off_diagonal)
    alone = regmean(list(weights[:, :, :5]), gram_of(inputs[:, :, :5]), off_diagonal=off_diagonal)
    assert_close(merged[:, 5:], weights[:, :, 5:].double().mean(0), atol=1e-6)
    assert_close(merged[:, :5], alone.double(), atol=1e-4)


def test_a_singular_gram_is_solved_where_it_has_something_to_say():
    # Two experts saw the same single direction u: the outputs on it are fitted, the rest is mean.
    weights, _ = drawn(3, 2, 4, 8)
    u = torch.arange(8.0) + 1.0
    merged = regmean(
        list(weights), [torch.outer(u, u), 3.0 * torch.outer(u, u)], off_diagonal=1.0
    ).double()
    mean, fitted = weights.double().mean(0), (weights * torch.tensor([0.25, 0.75]).view(2, 1, 1))
    u = u.double()
    assert torch.allclose(merged @ u, fitted.double().sum(0) @ u, atol=1e-4)
    moved = merged - mean
    assert torch.linalg.matrix_rank(moved, rtol=1e-3) == 1
    assert merged.abs().max() < 2 * weights.abs().max()


def test_an_expert_of_a_mixture_that_no_token_was_sent_to_is_averaged():
    weights, inputs = drawn(4, 2, 4, 8)
    stacks = [torch.stack([w, w + 1.0]) for w in weights]
    seen, unseen = gram_of(inputs), torch.zeros(8, 8)
    merged = regmean(stacks, [torch.stack([g, unseen]) for g in seen])
    assert_close(merged[0], regmean(list(weights), seen).double(), atol=1e-6)
    assert_close(merged[1], weights.double().mean(0) + 1.0, atol=1e-6)


def test_an_expert_whose_text_used_nothing_leaves_the_matrix_to_the_others():
    weights, inputs = drawn(5, 2, 4, 8)
    merged = regmean(list(weights), [torch.zeros(8, 8), gram_of(inputs[1])])
    assert_close(merged, weights[1].double(), atol=1e-5)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**30])
def test_the_unit_of_the_activations_does_not_matter(scale):
    weights, inputs = drawn(6, 3, 4, 8)
    grams = gram_of(inputs)
    assert torch.equal(
        regmean(list(weights), grams * scale, off_diagonal=1.0),
        regmean(list(weights), grams, off_diagonal=1.0),
    )


def test_an_input_of_another_unit_changes_nothing_but_its_column():
    weights, inputs = drawn(7, 3, 4, 8)
    units = torch.tensor([2.0**k for k in (-20, 0, 3, 20, 0, 0, -7, 1)])
    plain = regmean(list(weights), gram_of(inputs))
    scaled = regmean(list(weights * units), gram_of(inputs / units))
    assert torch.allclose(scaled / units, plain, atol=1e-5)


def test_weights_whose_rows_are_inputs_are_solved_from_the_other_side():
    weights, inputs = drawn(8, 3, 8, 8)
    columns = regmean(list(weights), gram_of(inputs))
    rows = regmean(
        list(weights.transpose(1, 2).contiguous()), gram_of(inputs), name=f"{MATRIX}:rows"
    )
    assert torch.equal(rows.T, columns)


def test_regmean_averages_what_is_no_matrix_of_a_layer():
    shapes = {
        "model.embed_tokens.weight": (6, 4),
        "model.layers.0.input_layernorm.weight": (4,),
        "lm_head.weight": (6, 4),
    }
    experts = [{name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(2)]
    merged = merge_models("regmean", experts[0], experts, coefficient=(1.0, 3.0), off_diagonal=0.5)
    for name in shapes:
        assert_close(merged[name], (experts[0][name] + 3 * experts[1][name]).double() / 4)


def test_statistics_of_another_shape_are_refused():
    weights, inputs = drawn(9, 2, 4, 8)
    with pytest.raises(
        ShapeError, match=r"grams of a for tensor .* are about 7 inputs, expected 8"
    ):
        regmean(list(weights), gram_of(inputs[:, :, :7]))


@pytest.mark.parametrize(("method", "kind"), [("regmean", "grams"), ("fisher", "fisher")])
def test_a_merge_without_its_statistics_says_how_to_collect_them(method, kind, model, recipe):
    merge = PreparedMerge(model(0), {"a": model(1), "b": model(2)})
    with pytest.raises(UsageError, match=f"{method} needs {kind} of a.*`evomerge prepare CONFIG`"):
        merge.merged(recipe(method, ("a", "b")))


def fisher(weights, information, *, coefficient=1.0, normalise=0.0, floor=0.0):
    return merge_arrays(
        "fisher",
        torch.zeros_like(weights[0]),
        weights,
        name=MATRIX,
        statistics=known("fisher", *information),
        coefficient=coefficient,
        normalise=normalise,
        floor=floor,
    )


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(0.1, 1.5), min_size=2, max_size=4),
    st.floats(0.0, 1.0),
    st.floats(0.0, 2.0),
)
def test_fisher_is_the_mean_weighed_by_information(seed, coefficients, normalise, floor):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(coefficients), 3, 5)
    weights = torch.randn(shape, generator=generator)
    information = 1e-9 * torch.randn(shape, generator=generator).square()
    merged = fisher(
        list(weights),
        information,
        coefficient=tuple(coefficients),
        normalise=normalise,
        floor=floor,
    )
    f, w = information.double(), column(coefficients, weights)
    f = f / f.square().sum((1, 2), keepdim=True).sqrt() ** normalise
    f = f + floor * (w / w.sum() * f).sum(0).mean()
    expected = (w * f * weights.double()).sum(0) / (w * f).sum(0)
    assert_close(merged, expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0**-60])
def test_equal_information_gives_the_mean_however_small_it_is(scale):
    # 10⁻⁶ added to Fisher information of 10⁻¹⁸ would make every merge the mean.
    weights, _ = drawn(0, 2, 4, 8)
    equal = (0.1 + torch.rand(4, 8)) * scale
    assert_close(fisher(list(weights), [equal, equal]), weights.double().mean(0), atol=1e-6)
    surer = fisher(list(weights), [equal, equal * 2.0**20], floor=1e-6)
    assert_close(surer, weights[1].double(), atol=1e-4)


def test_where_nobody_knows_anything_fisher_is_the_mean():
    weights, _ = drawn(1, 2, 4, 8)
    some = torch.rand(2, 4, 8)
    some[:, 1] = 0.0
    merged = fisher(list(weights), some)
    assert_close(merged[1], weights[:, 1].double().mean(0), atol=1e-6)
    nothing = fisher(list(weights), torch.zeros(2, 4, 8), floor=1e-6, normalise=1.0)
    assert_close(nothing, weights.double().mean(0), atol=1e-6)


def test_a_large_floor_gives_the_mean():
    weights, _ = drawn(2, 2, 4, 8)
    merged = fisher(list(weights), torch.rand(2, 4, 8), floor=1e6)
    assert_close(merged, weights.double().mean(0), atol=1e-5)


def test_information_is_normalised_over_the_whole_model():
    names = ("model.layers.0.a.weight", "model.layers.1.a.weight")
    experts = [{name: torch.full((2, 2), value) for name in names} for value in (0.0, 1.0)]
    information = {  # norms 2 and 6: of four and of eight equal entries
        "a": {names[0]: torch.full((2, 2), 1.0), names[1]: torch.zeros(2, 2)},
        "b": {names[0]: torch.full((2, 2), 2.0), names[1]: torch.full((2, 2), 5.0**0.5)},
    }
    merged = merge_models(
        "fisher",
        experts[0],
        experts,
        statistics={"fisher": {name: MemorySource(x) for name, x in information.items()}},
        coefficient=1.0,
        normalise=1.0,
        floor=0.0,
    )
    share = (2 / 6) / (1 / 2 + 2 / 6)
    assert torch.allclose(merged[names[0]], torch.full((2, 2), share))
    assert torch.allclose(merged[names[1]], torch.ones(2, 2))


ACTIVE = [4.0, 1.0, 0.0]


def aim(method, base, experts, *, name=MATRIX, omega=0.5, active=ACTIVE, **values):
    """The merge of one tensor with `aim` behind a method; `name` may end in `:rows`."""
    statistics = known("activations", torch.tensor(active), name=name)
    values |= {"aim.omega": omega}
    name = name.removesuffix(":rows")
    return merge_arrays(f"{method}+aim", base, experts, name=name, statistics=statistics, **values)


def test_aim_damps_the_inputs_that_are_most_active():
    merged = aim("task_arithmetic", torch.zeros(2, 3), [torch.ones(2, 3)], coefficient=1.0)
    # 1 - s (1 - ω) with s = 1, 1/4 and 0.
    assert merged.tolist() == [[0.5, 0.875, 1.0]] * 2


def test_aim_damps_rows_where_those_are_the_inputs():
    base, experts = torch.zeros(3, 2), [torch.ones(3, 2)]
    merged = aim("task_arithmetic", base, experts, name=f"{MATRIX}:rows", coefficient=1.0)
    assert merged.T.tolist() == [[0.5, 0.875, 1.0]] * 2


def test_aim_damps_the_entries_of_a_norm():
    name = "model.layers.0.input_layernorm.weight"
    merged = aim("task_arithmetic", torch.zeros(3), [torch.ones(3)], name=name, coefficient=1.0)
    assert merged.tolist() == [0.5, 0.875, 1.0]


def test_aim_leaves_alone_what_no_activation_is_known_of():
    name = "model.embed_tokens.weight"
    statistics = known("activations", torch.tensor(ACTIVE))
    merged = merge_arrays(
        "task_arithmetic+aim",
        torch.zeros(2, 3),
        [torch.ones(2, 3)],
        name=name,
        statistics=statistics,
        **{"coefficient": 1.0, "aim.omega": 0.0},
    )
    assert merged.tolist() == [[1.0] * 3] * 2


def test_aim_changes_nothing_at_omega_one_or_where_the_base_is_silent():
    generator = torch.Generator().manual_seed(0)
    base, *experts = torch.randn(3, 5, 3, generator=generator)
    values = {"coefficient": 0.7, "density": 0.5}
    plain = merge_arrays("ties", base, experts, name=MATRIX, **values)
    assert torch.equal(aim("ties", base, experts, omega=1.0, **values), plain)
    assert torch.equal(aim("ties", base, experts, active=[0.0] * 3, **values), plain)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**40])
def test_aim_knows_no_unit_of_activations(scale):
    base, experts = torch.zeros(2, 3), [torch.ones(2, 3)]
    scaled = [scale * x for x in ACTIVE]
    merged = aim("task_arithmetic", base, experts, active=scaled, coefficient=1.0)
    assert merged.tolist() == [[0.5, 0.875, 1.0]] * 2


def test_aim_damps_the_change_also_where_whole_weights_are_averaged():
    base, expert = torch.full((2, 3), 8.0), torch.full((2, 3), 9.0)
    merged = aim("linear", base, [expert, expert], coefficient=1.0)
    assert merged.tolist() == [[8.5, 8.875, 9.0]] * 2


def test_a_merge_with_aim_needs_activations_of_the_base(model, recipe):
    merge = PreparedMerge(model(0), {"a": model(1), "b": model(2)})
    with pytest.raises(UsageError, match=r"ties\+aim needs activations of base"):
        merge.merged(recipe("ties+aim", ("a", "b")))
    assert dict(merge.merged(recipe("ties+aim", ("a", "b"), coefficient=0.0)))
