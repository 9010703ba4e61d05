"""Orthogonal matching pursuit: what is sparse is recovered, and what is not is approximated."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.checkpoint.pursuit import combine, pursue

torch.set_num_threads(1)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def dense(sparse, n_atoms):
    """`(n, n_atoms)` coefficients."""
    found = torch.zeros(len(sparse.chosen), n_atoms)
    return found.scatter_add_(1, sparse.chosen, sparse.coefficients)


@pytest.mark.parametrize("at_once", [1, 4])
def test_exact_sparse_combinations_are_recovered(at_once):
    atoms, wanted = randn(60, 120), torch.zeros(200, 60)
    for seed, row in enumerate(wanted):
        row[randn(60, seed=seed).argsort()[:3]] = torch.tensor([2.0, -1.0, 1.5])
    sparse = pursue(wanted @ atoms, atoms, k=8, at_once=at_once)
    torch.testing.assert_close(dense(sparse, 60), wanted, atol=1e-4, rtol=1e-4)
    assert sparse.residuals.max() < 1e-5


def test_one_atom_is_that_of_the_largest_product_and_its_projection():
    atoms, targets = randn(50, 16), randn(20, 16, seed=1)
    sparse = pursue(targets, atoms, k=1)
    assert torch.equal(sparse.chosen[:, 0], (targets @ atoms.T).abs().argmax(1))
    nearest = atoms[sparse.chosen[:, 0]]
    expected = (targets * nearest).sum(1) / (nearest * nearest).sum(1)
    torch.testing.assert_close(sparse.coefficients[:, 0], expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_the_combination_is_the_least_squares_fit_of_the_chosen_atoms(k, seed):
    atoms, targets = randn(40, 12, seed=seed), randn(5, 12, seed=seed + 1)
    sparse = pursue(targets, atoms, k=k)
    for target, chosen, found in zip(targets, sparse.chosen, sparse.coefficients, strict=True):
        expected, *_ = np.linalg.lstsq(atoms[chosen].double().T, target.double(), rcond=None)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


def test_more_atoms_never_approximate_worse():
    atoms, targets = randn(80, 24), randn(30, 24, seed=1)
    residuals = torch.stack([pursue(targets, atoms, k=k).residuals for k in (1, 2, 4, 8, 16, 24)])
    assert (residuals.diff(dim=0) <= 1e-6).all()
    assert residuals[-1].max() < 1e-4  # as many atoms as dimensions


def test_several_atoms_at_once_approximate_nearly_as_well():
    atoms, targets = randn(400, 64), randn(50, 64, seed=1)
    exact, fast = (pursue(targets, atoms, k=16, at_once=n).residuals.mean() for n in (1, 4))
    assert exact <= fast < 1.3 * exact


def test_the_residual_is_what_the_combination_leaves():
    atoms, targets = randn(80, 24), randn(30, 24, seed=1)
    sparse = pursue(targets, atoms, k=5)
    left = (targets - combine(sparse, atoms)).norm(dim=1) / targets.norm(dim=1)
    torch.testing.assert_close(sparse.residuals, left, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_the_scale_of_neither_side_matters(scale):
    atoms, targets = randn(80, 24), randn(30, 24, seed=1)
    expected = pursue(targets, atoms, k=5)
    scaled = pursue(targets * scale, atoms, k=5)
    assert torch.equal(scaled.chosen, expected.chosen)
    torch.testing.assert_close(scaled.coefficients, expected.coefficients * scale)
    scaled = pursue(targets, atoms * scale, k=5)
    torch.testing.assert_close(scaled.coefficients * scale, expected.coefficients)


def test_repeated_and_empty_atoms_do_no_harm():
    atoms = torch.cat([randn(10, 8), randn(10, 8), torch.zeros(3, 8)])
    sparse = pursue(randn(20, 8, seed=1), atoms, k=16)
    assert sparse.coefficients.isfinite().all()
    assert sparse.residuals.max() < 1e-4
    assert (sparse.coefficients[sparse.chosen >= 20] == 0).all()


def test_a_target_of_zeros_has_no_coefficients():
    sparse = pursue(torch.zeros(2, 8), randn(10, 8), k=4)
    assert sparse.coefficients.abs().max() == 0
    assert sparse.residuals.max() == 0


def test_there_may_be_fewer_atoms_than_wanted_and_no_targets():
    assert pursue(randn(4, 8), randn(3, 8), k=64).chosen.shape == (4, 3)
    assert pursue(randn(0, 8), randn(3, 8), k=2).chosen.shape == (0, 2)


def test_the_same_combination_is_taken_of_other_rows_and_of_numbers():
    atoms, other = randn(30, 8), randn(30, 5, seed=1)
    sparse = pursue(randn(6, 8, seed=2), atoms, k=3)
    torch.testing.assert_close(combine(sparse, other), dense(sparse, 30) @ other)
    torch.testing.assert_close(combine(sparse, other[:, 0]), dense(sparse, 30) @ other[:, 0])


@pytest.mark.gpu
def test_an_accelerator_finds_the_same_atoms():
    atoms, targets = randn(500, 64), randn(100, 64, seed=1)
    here, there = pursue(targets, atoms, k=8), pursue(targets.cuda(), atoms.cuda(), k=8)
    assert torch.equal(there.chosen.cpu(), here.chosen)
