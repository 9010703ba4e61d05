"""Spectral methods against their formulas, by numpy's own decompositions in float64."""

import numpy as np
import pytest
import torch

from tests.merge.single import merge_arrays
from tests.merge.spectral import assert_near, low_rank, merged, task_vectors

SHAPES = [(6, 6), (5, 9), (9, 5), (12, 7)]

shapes = pytest.mark.parametrize("shape", SHAPES)
numbers = pytest.mark.parametrize("n", [1, 2, 3])


def orthogonal(matrix):
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    return u @ vt


# TSV-M


def plain_tsv(vectors):
    """The published algorithm where N divides the rank."""
    k = min(vectors[0].shape) // len(vectors)
    us, ss, vs = [], [], []
    for vector in vectors:
        u, s, vt = np.linalg.svd(vector, full_matrices=False)
        us.append(u[:, :k])
        ss.append(s[:k])
        vs.append(vt[:k])
    u, v = orthogonal(np.hstack(us)), orthogonal(np.vstack(vs))
    return u @ np.diag(np.hstack(ss)) @ v


@pytest.mark.parametrize(("n", "shape"), [(1, (5, 9)), (2, (6, 6)), (2, (7, 6)), (3, (6, 11))])
def test_tsv_is_the_published_algorithm(n, shape):
    vectors = task_vectors(n, shape)
    assert_near(merged("tsv", vectors), plain_tsv(vectors))


def test_tsv_coefficients_scale_the_singular_values():
    vectors = task_vectors(2, (6, 8))
    scaled = [2.0 * vectors[0], 0.25 * vectors[1]]
    assert_near(merged("tsv", vectors, coefficient=(2.0, 0.25)), plain_tsv(scaled))


def orthogonal_task_vectors(rng, shape, ranks):
    """Task vectors whose columns and rows are orthogonal to each other's."""
    left = np.linalg.qr(rng.normal(size=(shape[0], sum(ranks))))[0]
    right = np.linalg.qr(rng.normal(size=(shape[1], sum(ranks))))[0]
    ends = np.cumsum(ranks)
    return [
        left[:, end - rank : end] @ np.diag(rng.uniform(1, 2, rank)) @ right[:, end - rank : end].T
        for rank, end in zip(ranks, ends, strict=True)
    ]


def test_tsv_of_orthogonal_task_vectors_is_their_sum():
    vectors = orthogonal_task_vectors(np.random.default_rng(0), (9, 12), (3, 2, 3))
    assert_near(merged("tsv", vectors), sum(vectors))


def test_tsv_gives_away_every_direction():
    # ⌊8 / 3⌋ = 2 for each leaves 2 of 8, which the published method drops.
    delta = merged("tsv", task_vectors(3, (8, 8)))
    assert np.linalg.matrix_rank(delta, tol=1e-3) == 8


def test_tsv_of_more_experts_than_directions_is_not_zero():
    # ⌊2 / 3⌋ = 0: the published method merges nothing.
    vectors = task_vectors(3, (2, 6))
    delta = merged("tsv", vectors)
    leading = sorted(np.linalg.norm(vector, 2) for vector in vectors)[-2:]
    assert np.linalg.svd(delta)[1] == pytest.approx(leading[::-1], rel=1e-5)


# Iso-C and Iso-CTS


@shapes
@numbers
def test_iso_c_has_equal_singular_values_and_the_nuclear_norm_of_the_sum(n, shape):
    vectors = task_vectors(n, shape)
    u, s, vt = np.linalg.svd(sum(vectors), full_matrices=False)
    delta = merged("iso_c", vectors, coefficient=0.5)
    assert_near(delta, 0.5 * s.mean() * u @ vt)
    values = np.linalg.svd(delta)[1]
    assert values == pytest.approx(0.5 * s.mean(), rel=1e-5)
    assert values.sum() == pytest.approx(0.5 * s.sum(), rel=1e-5)


def test_iso_c_of_low_rank_task_vectors_stays_in_their_columns():
    # With the null space at the mean too, 98 % of the energy would be outside.
    vectors = low_rank(2, 2, (40, 30))
    delta = merged("iso_c", vectors)
    columns = np.linalg.qr(np.hstack([vector[:, :2] for vector in vectors]))[0]
    outside = delta - columns @ (columns.T @ delta)
    assert np.linalg.norm(outside) < 1e-5 * np.linalg.norm(delta)
    values = np.linalg.svd(delta)[1]
    assert values[:4] == pytest.approx(np.linalg.svd(sum(vectors))[1][:4].mean(), rel=1e-5)


def test_iso_c_weighs_each_direction_by_who_moves_along_it():
    vectors = orthogonal_task_vectors(np.random.default_rng(1), (6, 6), (3, 3))
    u, s, vt = np.linalg.svd(vectors[0])
    own = s[:3].mean() / 2 + np.linalg.svd(vectors[1])[1][:3].mean() / 2
    alone = merged("iso_c", vectors, coefficient=(1.0, 1e-12))
    assert_near(alone, own * u[:, :3] @ vt[:3])


def plain_iso_cts(vectors, n_own):
    rank = min(vectors[0].shape)
    u, s, vt = np.linalg.svd(sum(vectors), full_matrices=False)
    n_common = rank - n_own * len(vectors)
    u, s, vt = u[:, :n_common], s[:n_common], vt[:n_common]
    us, ss, vs = [u], [s], [vt]
    for vector in vectors:
        own_u, own_s, own_vt = np.linalg.svd(vector - u @ u.T @ vector, full_matrices=False)
        us.append(own_u[:, :n_own])
        ss.append(own_s[:n_own])
        vs.append(own_vt[:n_own])
    return np.hstack(ss).mean() * orthogonal(np.hstack(us)) @ orthogonal(np.vstack(vs))


@pytest.mark.parametrize(("n", "rank", "n_own"), [(2, 10, 1), (2, 20, 2), (3, 16, 1)])
def test_iso_cts_is_the_published_algorithm(n, rank, n_own):
    vectors = task_vectors(n, (rank, rank + 3))
    assert_near(merged("iso_cts", vectors, coefficient=0.7), 0.7 * plain_iso_cts(vectors, n_own))


def test_iso_cts_of_few_directions_leaves_them_all_to_the_sum():
    # The reference rounds 1 / 2 experts up or down; rounded up to 2 of 3 the sum would lose some.
    vectors = task_vectors(2, (3, 4))
    assert_near(merged("iso_cts", vectors), merged("iso_c", vectors))


# STAR and CART


def plain_star(vector, eta):
    u, s, vt = np.linalg.svd(vector, full_matrices=False)
    k = next(k for k in range(1, len(s) + 1) if s[:k].sum() >= eta * s.sum() * (1 - 1e-12))
    return (s.sum() / s[:k].sum()) * u[:, :k] @ np.diag(s[:k]) @ vt[:k]


@shapes
@numbers
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
def test_star_averages_what_it_truncates_and_rescales(n, shape, eta):
    vectors = task_vectors(n, shape)
    expected = np.mean([plain_star(vector, eta) for vector in vectors], axis=0)
    assert_near(merged("star", vectors, coefficient=0.6, eta=eta), 0.6 * expected)


def test_star_of_a_task_vector_of_zero_is_zero():
    # 0 / 0 in the reference.
    vector = task_vectors(1, (4, 5))[0]
    delta = merged("star", [np.zeros((4, 5)), vector], eta=0.5)
    assert_near(delta, plain_star(vector, 0.5) / 2)


@shapes
@numbers
@pytest.mark.parametrize("rank", [0.0, 0.3, 1.0])
def test_cart_adds_low_rank_differences_to_the_mean(n, shape, rank):
    vectors = task_vectors(n, shape)
    mean = np.mean(vectors, axis=0)
    k = int(rank * min(shape) + 0.5)
    expected = mean.copy()
    for vector in vectors:
        u, s, vt = np.linalg.svd(vector - mean, full_matrices=False)
        expected += 0.8 * u[:, :k] @ np.diag(s[:k]) @ vt[:k]
    assert_near(merged("cart", vectors, scale=0.8, rank=rank), expected)


# WUDI, OptMerge, OPCM


def wudi_gradient(solution, targets, rows, vectors):
    """The gradient of Σ ‖(X − targetᵢ) rowsᵢᵀ‖² / ‖τᵢ‖² by X, halved."""
    return sum(
        (solution - target) @ row.T @ row / np.linalg.norm(vector) ** 2
        for target, row, vector in zip(targets, rows, vectors, strict=True)
    )


def size_of_terms(targets, rows, vectors):
    zero = np.zeros_like(targets[0])
    terms = zip(targets, rows, vectors, strict=True)
    return max(np.abs(wudi_gradient(zero, [t], [r], [v])).max() for t, r, v in terms)


@shapes
@numbers
def test_the_gradient_of_wudi_s_loss_is_zero(n, shape):
    vectors = task_vectors(n, shape)
    gradient = wudi_gradient(merged("wudi", vectors), vectors, vectors, vectors)
    assert np.abs(gradient).max() < 1e-5 * size_of_terms(vectors, vectors, vectors)


@pytest.mark.parametrize("make", [task_vectors, lambda n, shape: low_rank(2, n, shape)])
def test_wudi_is_the_least_squares_solution(make):
    vectors = make(3, (6, 10))
    scaled = [vector / np.linalg.norm(vector) for vector in vectors]
    # Of all minimisers the one within the rows of the task vectors.
    left = np.vstack(scaled)
    expected = np.hstack([v @ s.T for v, s in zip(vectors, scaled, strict=True)])
    solution = expected @ np.linalg.pinv(left.T, rcond=1e-6)
    assert_near(merged("wudi", vectors), solution, rtol=1e-4)


def test_wudi_s_parts_scale_with_their_coefficients():
    vectors = task_vectors(2, (5, 6))
    one, other, both = (
        merged("wudi", vectors, coefficient=c) for c in ((1.0, 1e-30), (1e-30, 1.0), (0.3, 0.9))
    )
    assert_near(both, 0.3 * one + 0.9 * other)


def optmerge_terms(vectors):
    k = max(1, min(vectors[0].shape) // len(vectors))
    mean = np.mean(vectors, axis=0)
    targets, rows = [], []
    for vector in vectors:
        u, s, vt = np.linalg.svd(vector - mean, full_matrices=False)
        targets.append(mean + u[:, :k] @ np.diag(s[:k]) @ vt[:k])
        _, s, vt = np.linalg.svd(vector, full_matrices=False)
        rows.append(np.diag(s[:k]) @ vt[:k])
    return targets, rows


@shapes
@numbers
def test_optmerge_solves_its_own_loss_and_is_the_sum_where_that_does_not_look(n, shape):
    vectors = task_vectors(n, shape)
    targets, rows = optmerge_terms(vectors)
    solution = merged("optmerge", vectors)
    gradient = wudi_gradient(solution, targets, rows, vectors)
    assert np.abs(gradient).max() < 1e-5 * size_of_terms(targets, rows, vectors)
    unseen = np.eye(shape[1]) - np.linalg.pinv(np.vstack(rows)) @ np.vstack(rows)
    assert np.allclose(solution @ unseen, sum(vectors) @ unseen, atol=1e-5)


def plain_opcm(vectors, alpha=0.5):
    """The published recursion with full bases, and one norm for this tensor."""
    merged = vectors[0].copy()
    for vector in vectors[1:]:
        u, s, vt = np.linalg.svd(merged)
        above = np.cumsum(s) / s.sum() > alpha
        k = int(np.argmax(above))
        inner = u.T @ vector @ vt.T
        np.fill_diagonal(inner, 0.0)
        inner[:k, :k] = 0.0
        merged = merged + u @ inner @ vt
    return merged * np.mean([np.linalg.norm(v) for v in vectors]) / np.linalg.norm(merged)


@shapes
@numbers
def test_opcm_is_the_published_recursion(n, shape):
    vectors = task_vectors(n, shape)
    assert_near(merged("opcm", vectors, coefficient=0.8), 0.8 * plain_opcm(vectors))


def test_opcm_after_a_task_vector_of_zero_starts_with_the_next():
    # The reference divides by the norm of what was merged before.
    vectors = task_vectors(2, (4, 6))
    after_zero = merged("opcm", [np.zeros((4, 6)), *vectors])
    expected = plain_opcm(list(vectors)) * 2 / 3  # the mean norm of three
    assert_near(after_zero, expected)


def test_opcm_adds_nothing_where_an_expert_repeats_the_one_before():
    vector = task_vectors(1, (5, 4))[0]
    assert_near(merged("opcm", [vector, vector, vector]), vector)


@pytest.mark.parametrize("method", ["tsv", "iso_c", "iso_cts", "star", "cart", "wudi", "optmerge"])
def test_what_is_no_matrix_of_a_layer_is_averaged(method):
    values = {"star": {"eta": 0.5}, "cart": {"scale": 1.0, "rank": 0.5}}.get(method, {})
    experts = [np.full((2, 2), 1.0), np.full((2, 2), 3.0)]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        found = merge_arrays(
            method, np.zeros((2, 2)), experts, name=name, coefficient=0.5, **values
        )
        assert torch.equal(found, torch.ones(2, 2, dtype=torch.float64))
