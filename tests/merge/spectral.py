"""Merges of one matrix of a layer, for the tests of spectral methods."""

import numpy as np

from tests.merge.single import merge_arrays

NAME = "model.layers.0.mlp.up_proj.weight"


def task_vectors(n, shape, seed=0):
    """Random task vectors of uneven size, float32 numbers in float64."""
    rng = np.random.default_rng([seed, n, *shape])
    sizes = np.linspace(0.5, 1.5, n).reshape(-1, *[1] * len(shape))
    return (sizes * rng.normal(size=(n, *shape))).astype(np.float32).astype(np.float64)


def low_rank(rank, n, shape, seed=0):
    """Random task vectors of low rank, float32 numbers in float64."""
    rng = np.random.default_rng([seed, n, rank])
    left, right = rng.normal(size=(n, shape[0], rank)), rng.normal(size=(n, rank, shape[1]))
    return (left @ right).astype(np.float32).astype(np.float64)


def merged(method, vectors, **values):
    """Δ of a merge into a base of zeros, float64."""
    base = np.zeros(vectors[0].shape, dtype=np.float32)
    experts = [vector.astype(np.float32) for vector in vectors]
    values = {"coefficient": 1.0} | values
    return merge_arrays(method, base, experts, name=NAME, **values).double().numpy()


def assert_near(found, expected, rtol=2e-5):
    """Equal to rounding, beside the largest entry."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max() + 1e-30
