"""Stages behind a method that change the singular values of what it gives."""

import numpy as np
import pytest
import torch

from tests.merge.single import merge_arrays
from tests.merge.spectral import assert_near, low_rank, merged, task_vectors

SHAPES = pytest.mark.parametrize("shape", [(6, 6), (5, 9), (9, 5)])


def plain_svc(delta, vectors, alpha):
    """Singular value calibration, direction by direction."""
    u, s, vt = np.linalg.svd(delta, full_matrices=False)
    scales = []
    for r in range(len(s)):
        whole = 0.0
        for vector in vectors:
            own = u[:, r] @ vector
            whole += max(alpha, (u[:, r] @ delta) @ own / (own @ own))
        scales.append(len(vectors) / whole)
    return u @ np.diag(np.array(scales) * s) @ vt


@SHAPES
@pytest.mark.parametrize("alpha", [0.1, 0.6])
def test_svc_is_the_published_calibration(shape, alpha):
    vectors = task_vectors(3, shape)
    values = {"coefficient": (0.4, 0.5, 0.9), "svc.alpha": alpha}
    delta = np.tensordot((0.4, 0.5, 0.9), vectors, 1)
    found = merged("task_arithmetic+svc", vectors, **values)
    assert_near(found, plain_svc(delta, vectors, alpha))


def test_svc_with_a_large_alpha_is_a_scale_of_one_over_it():
    vectors = task_vectors(2, (6, 8))
    found = merged("task_arithmetic+svc", vectors, **{"svc.alpha": 1e4})
    assert_near(found, sum(vectors) / 1e4)


def test_svc_takes_an_expert_without_a_part_in_a_direction_for_alpha():
    # 0 / 0: an expert of rank 1 has nothing along the directions of the other.
    one, other = np.zeros((2, 4, 4))
    one[0, 0], other[1, 1] = 2.0, 1.0
    found = merged("task_arithmetic+svc", [one, other], **{"svc.alpha": 0.5})
    assert_near(found, (one + other) * 2 / 1.5)


@SHAPES
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_low_rank_is_the_nearest_matrix_of_that_rank(shape, share):
    vectors = task_vectors(2, shape)
    u, s, vt = np.linalg.svd(sum(vectors), full_matrices=False)
    k = max(1, int(share * len(s) + 0.5))
    found = merged("task_arithmetic+low_rank", vectors, **{"low_rank.share": share})
    assert_near(found, u[:, :k] @ np.diag(s[:k]) @ vt[:k])


@SHAPES
@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
def test_flatten_takes_a_power_of_the_singular_values_and_keeps_their_sum(shape, q):
    vectors = task_vectors(2, shape)
    u, s, vt = np.linalg.svd(sum(vectors), full_matrices=False)
    values = s ** (1 - q) * s.sum() / (s ** (1 - q)).sum()
    found = merged("task_arithmetic+flatten", vectors, **{"flatten.q": q})
    assert_near(found, u @ np.diag(values) @ vt)


def test_task_arithmetic_flattened_is_iso_c():
    vectors = [*low_rank(3, 2, (10, 12))]
    flat = merged("task_arithmetic+flatten", vectors, coefficient=0.3, **{"flatten.q": 1.0})
    assert_near(flat, merged("iso_c", vectors, coefficient=0.3))


def test_stages_run_in_the_order_of_their_names():
    vectors = task_vectors(2, (6, 6))
    values = {"flatten.q": 1.0, "low_rank.share": 0.5}
    first, last = (
        np.linalg.svd(merged(f"task_arithmetic+{stages}", vectors, **values))[1]
        for stages in ("low_rank+flatten", "flatten+low_rank")
    )
    s = np.linalg.svd(sum(vectors))[1]
    assert first == pytest.approx([s[:3].mean()] * 3 + [0.0] * 3, rel=1e-5, abs=1e-5)
    assert last == pytest.approx([s.mean()] * 3 + [0.0] * 3, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("stage", ["svc", "low_rank", "flatten"])
def test_what_is_no_matrix_of_a_layer_is_left_alone(stage):
    experts = list(np.random.default_rng(0).normal(size=(2, 4, 6)))
    values = {"coefficient": 0.7, "svc.alpha": 0.1, "low_rank.share": 0.2, "flatten.q": 1.0}
    values = {k: x for k, x in values.items() if k.split(".")[0] in (stage, "coefficient")}
    zero = np.zeros((4, 6))
    found = merge_arrays(f"task_arithmetic+{stage}", zero, experts, name="lm_head.weight", **values)
    plain = merge_arrays("task_arithmetic", zero, experts, name="lm_head.weight", coefficient=0.7)
    assert torch.equal(found, plain)
