"""Each method against its formula, written down once more the plain way, and its edge cases."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evomerge.merge.stages.weigh import normalised
from tests.merge.single import assert_close, families, merge_arrays


@given(families())
def test_task_arithmetic_adds_scaled_task_vectors(family):
    base, experts, coefficients = family
    pairs = zip(experts, coefficients, strict=True)
    expected = base.double() + sum(c * (x.double() - base.double()) for x, c in pairs)
    merged = merge_arrays("task_arithmetic", base, experts, coefficient=coefficients)
    assert_close(merged, expected)


@given(families())
def test_linear_is_the_weighted_average(family):
    base, experts, coefficients = family
    pairs = zip(experts, coefficients, strict=True)
    total = sum(coefficients)
    expected = sum(c / total * x.double() for x, c in pairs) if total else base.double()
    assert_close(merge_arrays("linear", base, experts, coefficient=coefficients), expected)


def test_linear_at_its_default_is_the_uniform_average():
    merged = merge_arrays("linear", np.zeros(2), np.eye(2) * 4, coefficient=1.0)
    assert merged.tolist() == [2.0, 2.0]


def plain_ties(base, experts, scale, density):
    """TIES of Yadav et al. (2023), tensor by tensor, algorithm 1 line by line."""
    trimmed = []
    for expert in experts:
        vector = expert.float() - base.float()
        k = int(density * vector.numel() + 0.5)
        order = vector.abs().flatten().sort(descending=True).values
        keep = vector.abs() >= order[k - 1] if k else torch.zeros_like(vector, dtype=torch.bool)
        trimmed.append(vector * keep)
    stack = torch.stack(trimmed)
    sign = stack.sum(0).sign()
    agreeing = (stack.sign() == sign) & (stack != 0)
    mean = (stack * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)
    return (base.float() + scale * mean).double()


@given(families(), st.floats(0.0, 1.0), st.floats(0.1, 1.5))
def test_ties_with_equal_coefficients_is_the_paper_s(family, density, scale):
    base, experts, _ = family
    merged = merge_arrays("ties", base, experts, coefficient=scale, density=density)
    assert_close(merged, plain_ties(base, experts, scale, density))


def test_ties_at_full_density_with_agreeing_signs_is_the_mean():
    experts = [[1.0, -2.0, 3.0], [3.0, -4.0, 3.0]]
    merged = merge_arrays("ties", np.zeros(3), experts, coefficient=1.0, density=1.0)
    assert merged.tolist() == [2.0, -3.0, 3.0]


def test_ties_keeps_every_entry_that_equals_the_threshold():
    merged = merge_arrays(
        "ties", np.zeros(4), [[2.0, -1.0, 1.0, 0.5]], coefficient=1.0, density=0.5
    )
    assert merged.tolist() == [2.0, -1.0, 1.0, 0.0]


def test_ties_that_may_keep_less_than_half_an_entry_keeps_none():
    merged = merge_arrays("ties", np.ones(4), [np.ones(4) * 2], coefficient=1, density=0.1)
    assert merged.tolist() == [1.0] * 4


def test_changes_that_cancel_exactly_leave_the_base():
    merged = merge_arrays("ties", [1.0], [[1.5], [0.5]], coefficient=1.0, density=1.0)
    assert merged.tolist() == [1.0]


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_an_expert_fades_out_with_its_coefficient(method):
    base, *experts = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    without, nearly = (
        merge_arrays(method, base, experts, coefficient=(1.0, coefficient), density=(0.5, 0.7))
        for coefficient in (0.0, 1e-6)
    )
    assert torch.allclose(without, nearly, atol=1e-4)


def test_dare_is_unbiased():
    base, expert = torch.zeros(500), torch.rand(500, generator=torch.Generator().manual_seed(0))
    draws = torch.stack(
        [
            merge_arrays("dare_ties", base, [expert], coefficient=1.0, density=0.3, seed=seed)
            for seed in range(400)
        ]
    )
    error = (draws.mean(0) - expert) / (expert * ((1 / 0.3 - 1) / 400) ** 0.5)
    assert abs(error.mean()) < 4 / 500**0.5
    assert 0.85 < error.std() < 1.15


def test_dare_masks_are_nested_and_the_kept_are_divided_by_the_density():
    base, expert = np.zeros(4000, dtype=np.float32), np.ones(4000, dtype=np.float32)
    kept = [
        merge_arrays("dare_ties", base, [expert], coefficient=1.0, density=density)
        for density in (0.0, 0.1, 0.4, 0.8, 1.0)
    ]
    for fewer, more in pairwise(kept):
        assert torch.all((more != 0) | (fewer == 0))
    assert kept[0].count_nonzero() == 0
    assert kept[2].max().item() == pytest.approx(2.5)
    assert kept[2].count_nonzero().item() / 4000 == pytest.approx(0.4, abs=0.03)
    assert torch.equal(kept[-1], torch.ones(4000))


def test_a_single_number_holds_for_every_expert():
    one = merge_arrays("task_arithmetic", [0.0], [[1.0], [2.0]], coefficient=0.5)
    each = merge_arrays("task_arithmetic", [0.0], [[1.0], [2.0]], coefficient=(0.5, 0.5))
    assert one.tolist() == each.tolist() == [1.5]


def test_a_merge_is_rounded_once():
    # In bfloat16 1 + 2⁻⁸ rounds to 1, so adding the two changes one by one would lose both.
    base = torch.ones(1, dtype=torch.bfloat16)
    change = torch.tensor([1 + 2.0**-7], dtype=torch.bfloat16)
    merged = merge_arrays("task_arithmetic", base, [change, change], coefficient=0.5)
    assert merged.tolist() == [1 + 2.0**-7]


def test_experts_may_have_another_dtype_than_the_base():
    base = torch.zeros(1, dtype=torch.float32)
    expert = torch.tensor([1 / 3]).bfloat16()
    merged = merge_arrays("task_arithmetic", base, [expert], coefficient=1.0)
    assert merged.dtype == torch.float32
    assert torch.equal(merged, expert.float())


@given(st.permutations([0.1, 0.123457, 0.7, 0.3, 0.9]))
def test_shares_do_not_depend_on_the_order_of_the_experts(coefficients: list[float]) -> None:
    expected = dict(zip(sorted(coefficients), normalised(sorted(coefficients)), strict=True))
    assert dict(zip(coefficients, normalised(coefficients), strict=True)) == expected
