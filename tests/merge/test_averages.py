"""Weighted averages of whole task vectors, against their formulas in float64, and their traps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.merge.single import (
    assert_close,
    column,
    families,
    merge_arrays,
    merge_models,
    task_vectors,
)


def weighted_mean(vectors, coefficients, weights):
    """max |λ| · Σ λ a v / Σ |λ| a."""
    products = column(coefficients, vectors) * column(weights, vectors)
    whole = products.abs().sum()
    return max(coefficients) * (products * vectors).sum(0) / (whole if whole else 1.0)


@settings(max_examples=40)
@given(families(), st.floats(0.0, 2.0))
def test_varm_weighs_by_the_mean_square_of_each_task_vector(family, power):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    weights = [vector.square().mean().item() ** power for vector in vectors]
    expected = base.double() + weighted_mean(vectors, coefficients, weights)
    merged = merge_arrays("varm", base, experts, coefficient=coefficients, power=power)
    assert_close(merged, expected, atol=1e-5)


def test_varm_at_power_zero_is_the_mean():
    merged = merge_arrays("varm", np.zeros(2), [[1.0, 0.0], [3.0, 2.0]], coefficient=0.5, power=0.0)
    assert merged.tolist() == [1.0, 0.5]


def test_metagpt_weighs_by_the_energy_of_the_whole_model():
    base = {name: np.zeros(2) for name in ("layers.0.a", "layers.1.a", "steps")}
    base["steps"] = np.zeros(2, dtype=np.int64)
    strong = {"layers.0.a": [2.0, 0.0], "layers.1.a": [0.0, 4.0], "steps": [90, 90]}
    weak = {"layers.0.a": [0.0, 1.0], "layers.1.a": [0.0, 2.0], "steps": [0, 0]}
    merged = merge_models("metagpt", base, [strong, weak], coefficient=1.0)
    # The squares are 4 + 16 and 1 + 4, in every layer; integers are not merged.
    assert merged["layers.0.a"].tolist() == pytest.approx([0.8 * 2.0, 0.2 * 1.0])
    assert merged["layers.1.a"].tolist() == pytest.approx([0.0, 0.8 * 4.0 + 0.2 * 2.0])
    assert merged["steps"].tolist() == [0, 0]


def stock_ratio(vectors):
    """t of Model Stock from `(N, …, d)` vectors along the last dimension."""
    n = len(vectors)
    if n == 1:
        return torch.ones(vectors.shape[1:-1], dtype=torch.float64)[..., None]
    pairs = [(i, j) for i in range(n) for j in range(i)]
    cosines = [torch.cosine_similarity(vectors[i], vectors[j], dim=-1, eps=0) for i, j in pairs]
    c = torch.stack([x.nan_to_num() for x in cosines]).mean(0).clamp(min=0)
    return (n * c / (1 + (n - 1) * c))[..., None]


@settings(max_examples=40)
@given(families(min_dims=1, least=0.1))
def test_model_stock_shrinks_the_mean_by_the_angles(family):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    t = stock_ratio(vectors.flatten(1)).reshape(())
    mean = weighted_mean(vectors, coefficients, [1.0] * len(experts))
    merged = merge_arrays("model_stock", base, experts, coefficient=coefficients)
    assert_close(merged, base.double() + t * mean, atol=1e-5)


@settings(max_examples=40)
@given(families(min_dims=1, least=0.1))
def test_model_stock_of_rows_has_a_ratio_for_each_row(family):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    mean = weighted_mean(vectors, coefficients, [1.0] * len(experts))
    merged = merge_arrays("model_stock_rows", base, experts, coefficient=coefficients)
    assert_close(merged, base.double() + stock_ratio(vectors) * mean, atol=1e-5)


MODEL_STOCKS = pytest.mark.parametrize("method", ["model_stock", "model_stock_rows"])


@MODEL_STOCKS
def test_model_stock_of_equal_task_vectors_is_their_mean_and_of_orthogonal_ones_the_base(method):
    equal = merge_arrays(method, np.zeros((1, 2)), [[[3.0, 4.0]]] * 3, coefficient=1.0)
    assert equal.tolist() == [pytest.approx([3.0, 4.0])]
    apart = merge_arrays(method, np.ones((1, 2)), [[[2.0, 1.0]], [[1.0, 5.0]]], coefficient=1.0)
    assert apart.tolist() == [[1.0, 1.0]]


@MODEL_STOCKS
def test_model_stock_works_for_vectors_of_any_length(method):
    # mergekit divides by products of norms as if none was below 1e-6.
    large = np.array([[[1.0, 0.1]], [[1.0, -0.1]]], dtype=np.float32)
    small = large * np.float32(2.0**-40)
    base = np.zeros((1, 2), dtype=np.float32)
    one, other = (merge_arrays(method, base, list(x), coefficient=1.0) for x in (large, small))
    assert torch.equal(one * 2.0**-40, other)
    assert one[0, 0] > 0.98


@MODEL_STOCKS
def test_model_stock_never_leaves_the_way_from_the_base_to_the_mean(method):
    # At a mean cosine of -1 / (N - 1) mergekit divides by zero, and beyond it extrapolates.
    angles = torch.tensor([0.0, 2.0944, 4.1888])
    triangle = list(torch.stack((angles.cos(), angles.sin()), 1)[:, None])
    opposite = [torch.tensor([[1.0, 0.5]]), torch.tensor([[-1.0, 0.5]])]
    for experts in (triangle, opposite):
        merged = merge_arrays(method, torch.zeros(1, 2), experts, coefficient=1.0)
        assert merged.abs().max() < 1e-6


@pytest.mark.parametrize("method", ["linear", "nuslerp", "multislerp", "karcher", "slerp"])
@pytest.mark.parametrize("weights", [(1.0, -1.0), (0.3, -0.1 * 3)])
def test_weights_that_cancel_leave_the_base(method, weights):
    # mergekit's linear divides by their sum unless it is exactly zero.
    merged = merge_arrays(method, [1.0, 2.0], [[2.0, 3.0], [5.0, -4.0]], coefficient=weights)
    assert merged.tolist() == [1.0, 2.0]
