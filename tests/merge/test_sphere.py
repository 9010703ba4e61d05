"""Averages of directions, against the same in float64 vectors, and their traps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.merge.stages.sphere import great_circle, karcher_mean, mean_direction
from tests.merge.single import assert_close, families, merge_arrays, task_vectors

PAIRS = families(least_experts=2, most_experts=2, min_dims=1, least=0.1)


def slerp(first, second, t, *, flat_above=1.0):
    cosine = torch.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    if abs(cosine) > flat_above - 1e-12:
        return (1 - t) * first + t * second
    angle = cosine.acos()
    return (((1 - t) * angle).sin() * first + (t * angle).sin() * second) / angle.sin()


@settings(max_examples=40)
@given(PAIRS)
def test_slerp_goes_from_one_expert_to_the_other_along_the_arc(family):
    base, experts, (first, second) = family
    expected = slerp(experts[0].double(), experts[1].double(), second / (first + second))
    merged = merge_arrays("slerp", base, experts, coefficient=(first, second))
    assert_close(merged, expected, atol=1e-5)


@settings(max_examples=40)
@given(PAIRS)
def test_nuslerp_does_so_with_task_vectors(family):
    base, experts, (first, second) = family
    expected = base.double() + slerp(*task_vectors(base, experts), second / (first + second))
    merged = merge_arrays("nuslerp", base, experts, coefficient=(first, second))
    assert_close(merged, expected, atol=1e-5)


def tangent_mean(vectors, weights, *, n_steps):
    """Steps u ← exp_u(Σ w log_u(u_i)) from the mean direction; none of them bends the tangents."""
    shape, vectors = vectors[0].shape, vectors.flatten(1)
    lengths = vectors.norm(dim=1)
    units = vectors / lengths[:, None]
    weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    mean = weights @ units
    point = mean / mean.norm()
    for _ in range(n_steps):
        cosines = units @ point
        angles = cosines.clamp(-1, 1).acos()
        tangents = units - cosines[:, None] * point
        sizes = tangents.norm(dim=1, keepdim=True)
        step = weights @ (tangents * angles[:, None] / sizes.clamp(min=1e-300))
        size = step.norm()
        point = size.cos() * point + size.sin() * step / size.clamp(min=1e-300)
    return (weights @ lengths * point).reshape(shape)


SEVERAL = families(min_dims=1, least=0.1)


@settings(max_examples=12)
@given(SEVERAL)
def test_karcher_is_the_weighted_riemannian_mean_of_the_directions(family):
    base, experts, weights = family
    expected = base.double() + tangent_mean(task_vectors(base, experts), weights, n_steps=300)
    if base.numel() > 3:  # few dimensions have cut loci
        merged = merge_arrays("karcher", base, experts, coefficient=weights)
        assert_close(merged, expected, atol=3e-5)


@settings(max_examples=12)
@given(SEVERAL)
def test_karcher_of_mergekit_takes_ten_steps_with_whole_weights(family):
    base, experts, weights = family
    stack = torch.stack(experts).double()
    if base.numel() > 3:
        merged = merge_arrays("karcher:mergekit", base, experts, coefficient=weights)
        # Ten steps, or fewer where one would turn by less than 1e-5.
        assert_close(merged, tangent_mean(stack, weights, n_steps=10), atol=2e-3)


@settings(max_examples=30)
@given(SEVERAL)
def test_multislerp_is_the_published_construction(family):
    base, experts, weights = family
    vectors = task_vectors(base, experts).flatten(1)
    lengths = vectors.norm(dim=1)
    units = (vectors / lengths[:, None]).nan_to_num()
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    mean = shares @ units
    if mean.norm() < 1e-3:
        return
    mean = mean / mean.norm()
    tangent = shares @ (units - (units @ mean)[:, None] * mean)
    size = tangent.norm()
    point = size.cos() * mean + torch.sinc(size / math.pi) * tangent
    expected = base.double() + (shares @ lengths * point).reshape(base.shape)
    merged = merge_arrays("multislerp", base, experts, coefficient=weights)
    assert_close(merged, expected, atol=1e-5)


def gram(*vectors):
    stack = torch.tensor(vectors, dtype=torch.float64)
    return (stack @ stack.T)[:, :, None]


def weights_of(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@given(st.floats(0.05, 0.95), st.floats(0.01, 3.0))
def test_karcher_of_two_vectors_of_equal_length_is_slerp(t, angle):
    matrix = gram([1.0, 0.0], [math.cos(angle), math.sin(angle)])
    arc = great_circle(matrix, weights_of(1 - t, t))
    assert torch.allclose(karcher_mean(matrix, weights_of(1 - t, t)), arc, atol=1e-6)


@pytest.mark.parametrize("rule", [karcher_mean, mean_direction])
def test_weights_of_equal_vectors_are_shares(rule):
    factors = rule(gram([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]), weights_of(0.2, 0.5, 0.3))
    assert factors.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("angle", [1e-7, 1e-5, 1e-3, 0.02])
def test_slerp_is_exact_at_the_small_angles_of_fine_tunes(angle):
    # acos of a float32 cosine knows no angle below 3e-4; mergekit takes the chord below 0.03.
    factors = great_circle(gram([1.0, 0.0], [math.cos(angle), math.sin(angle)]), weights_of(3, 1))
    expected = [math.sin(0.75 * angle) / math.sin(angle), math.sin(0.25 * angle) / math.sin(angle)]
    assert factors[:, 0].tolist() == pytest.approx(expected, rel=1e-9)


def test_slerp_of_mergekit_takes_the_chord_at_small_angles():
    experts = [[1.0, 0.0], [math.cos(0.03), math.sin(0.03)]]
    chord = np.mean(experts, axis=0)
    one, other = (
        merge_arrays(method, np.zeros(2), experts, coefficient=(1.0, 1.0))
        for method in ("slerp:mergekit", "slerp")
    )
    assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(chord), abs=1e-7)
    assert np.linalg.norm(other) == pytest.approx(1.0, abs=1e-7)


METHODS = pytest.mark.parametrize("method", ["slerp", "nuslerp", "multislerp", "karcher"])


@METHODS
def test_opposite_directions_merge_to_the_chord(method):
    # No great circle is the shortest there; mergekit's multislerp raises for three.
    merged = merge_arrays(method, np.zeros(2), [[2.0, 0.0], [-2.0, 0.0]], coefficient=(1.0, 1.0))
    assert merged.tolist() == [0.0, 0.0]


@METHODS
def test_a_vector_of_length_zero_turns_nothing(method):
    # mergekit's slerp takes it for orthogonal.
    merged = merge_arrays(method, np.zeros(2), [[0.0, 0.0], [3.0, 4.0]], coefficient=(1.0, 1.0))
    assert merged.tolist() == pytest.approx([1.5, 2.0])


@METHODS
@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_lengths_do_not_change_the_angles(method, scale):
    # mergekit leaves vectors shorter than 1e-8 at their length and takes cosines of the rest.
    experts = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    base = np.zeros(20, dtype=np.float32)
    one, other = (
        merge_arrays(method, base, list(x), coefficient=(1.0, 0.5))
        for x in (experts, experts * np.float32(scale))
    )
    assert torch.equal(one * scale, other)


def test_directions_of_bfloat16_tensors_are_averaged_in_float64():
    # mergekit's karcher takes dot products and arccosines in the tensors' own dtype.
    generator = torch.Generator().manual_seed(0)
    experts = [torch.randn(4000, generator=generator).bfloat16() for _ in range(3)]
    base = torch.zeros(4000, dtype=torch.bfloat16)
    weights = (0.5, 0.3, 0.2)
    merged = merge_arrays("karcher", base, experts, coefficient=weights)
    expected = tangent_mean(torch.stack(experts).double(), weights, n_steps=100)
    assert (merged.double() - expected).norm() / expected.norm() < 2.0**-8
