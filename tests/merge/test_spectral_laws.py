"""Laws of all methods that merge matrices as a whole, and of what they keep between candidates."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evomerge.errors import InfrastructureError, NonFiniteError
from evomerge.merge.methods import METHODS, find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.merge.stages import decompose
from evomerge.merge.store import FactorStore
from evomerge.records import GroupRecipe, Recipe
from tests.merge.memory import MemorySource
from tests.merge.spectral import NAME, assert_near, low_rank, merged, task_vectors

SPECTRAL = (
    *(name for name, m in METHODS.items() if m.matrix is not None and not m.statistics),
    *("knots(ties)", "knots(task_arithmetic)", "core(dare_ties)", "core(task_arithmetic)"),
)
POSTS = tuple(f"task_arithmetic+{post}" for post in ("svc", "low_rank", "flatten"))
ISOTROPIC = ("iso_c", "iso_cts")
LOSES = (*ISOTROPIC, "tsv", "optmerge", "core(dare_ties)", *POSTS)
"""Several equal experts are not merged whole."""

spectral = pytest.mark.parametrize("method", SPECTRAL)
every = pytest.mark.parametrize("method", SPECTRAL + POSTS)


def values_of(method, *, full=False):
    return {
        p.name: p.full if full and p.full is not None else p.default
        for p in find_method(method).parameters
        if p.name != "coefficient"
    }


@every
def test_zero_task_vectors_merge_to_nothing(method):
    assert not merged(method, np.zeros((2, 4, 5)), **values_of(method)).any()


@every
def test_an_expert_that_equals_the_base_is_no_obstacle(method):
    vectors = [*task_vectors(2, (4, 5)), np.zeros((4, 5))]
    assert np.isfinite(merged(method, vectors, **values_of(method))).all()


@every
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**30])
def test_task_vectors_scaled_by_a_power_of_two_merge_to_the_same_scaled(method, scale):
    vectors = task_vectors(3, (6, 7))
    values = {"coefficient": (0.5, 0.25, 1.0)} | values_of(method)
    large, small = (merged(method, x, **values) for x in (vectors, vectors * scale))
    np.testing.assert_array_equal(large * scale, small)


@spectral
def test_half_the_coefficients_move_half_as_far(method):
    vectors = task_vectors(3, (6, 7))
    whole, half = (
        merged(method, vectors, coefficient=c, **values_of(method))
        for c in ((1.0, 0.5, 1.5), (0.5, 0.25, 0.75))
    )
    np.testing.assert_array_equal(whole * 0.5, half)


@pytest.mark.parametrize("method", [m for m in SPECTRAL + POSTS if m not in ISOTROPIC])
def test_a_lone_expert_is_scaled_by_its_coefficient(method):
    (vector,) = task_vectors(1, (5, 7))
    values = values_of(method, full=True)
    expected = vector if "svc" in method else 0.5 * vector  # svc undoes what is not below alpha
    assert_near(merged(method, [vector], coefficient=0.5, **values), expected)


@pytest.mark.parametrize("method", [m for m in SPECTRAL if m not in LOSES])
def test_equal_experts_merge_to_themselves(method):
    (vector,) = task_vectors(1, (5, 7))
    values = values_of(method, full=True)
    coefficient = 1.0 / 3 if "task_arithmetic" in method else 1.0
    assert_near(merged(method, [vector] * 3, coefficient=coefficient, **values), vector)


@pytest.mark.parametrize("method", [m for m in SPECTRAL if m not in ("opcm", "core(dare_ties)")])
def test_the_experts_names_do_not_matter(method):
    # Experts are merged in the order of their names; opcm's depends on it, and masks on the name.
    vectors = task_vectors(3, (6, 7))
    coefficients = (0.3, 0.6, 0.9)
    values = values_of(method)
    there = merged(method, vectors, coefficient=coefficients, **values)
    back = merged(method, vectors[::-1], coefficient=coefficients[::-1], **values)
    assert_near(back, there)


@every
def test_a_stack_of_matrices_is_merged_matrix_by_matrix(method):
    stacks = task_vectors(2, (3, 4, 5))
    values = {"coefficient": (0.4, 0.8)} | values_of(method)
    found = merged(method, stacks, **values)
    if "dare" in method:  # masks belong to a whole tensor
        assert np.isfinite(found).all()
        return
    for index in range(3):
        assert_near(found[index], merged(method, stacks[:, index], **values))


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_with_the_tensor_s_name(method, bad):
    vectors = task_vectors(2, (4, 5))
    vectors[1][2, 3] = bad
    with pytest.raises(NonFiniteError, match=rf"tensor '{NAME}'.*NaN or infinite"):
        merged(method, vectors, **values_of(method))


@every
def test_the_number_of_threads_does_not_matter(method):
    vectors = task_vectors(2, (150, 130))
    found = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        found.append(merged(method, vectors, **values_of(method)))
    torch.set_num_threads(1)
    np.testing.assert_array_equal(*found)


# What is kept between candidates


def models(n=3, shape=(6, 8)):
    base, *experts = (
        MemorySource({NAME: torch.as_tensor(x, dtype=torch.float32)})
        for x in (np.zeros(shape), *task_vectors(n, shape))
    )
    return base, dict(zip("abc", experts, strict=False))


def recipe_of(method, coefficient=(0.5, 0.7, 0.9), **values):
    values = {"coefficient": coefficient} | values_of(method) | values
    return Recipe(("a", "b", "c"), {"layers.0-0": GroupRecipe(method, values)})


def count_decompositions(monkeypatch):
    calls = []
    for name in ("eigh", "eigvalsh", "eig", "svd", "svdvals", "qr", "cholesky", "solve", "pinv"):
        whole = getattr(torch.linalg, name)

        def counted(*args, whole=whole, name=name, **kwargs):
            calls.append(name)
            return whole(*args, **kwargs)

        monkeypatch.setattr(torch.linalg, name, counted)
    return calls


OTHERS = {"star": {"eta": 0.7}, "cart": {"scale": 0.3, "rank": 0.9}, "knots(ties)": {"density": 1}}


@spectral
def test_a_second_candidate_decomposes_nothing(method, monkeypatch):
    merge = PreparedMerge(*models())
    calls = count_decompositions(monkeypatch)
    dict(merge.merged(recipe_of(method)))
    assert calls
    calls.clear()
    second = recipe_of(method, (0.1, 1.2, 0.3), **OTHERS.get(method, {}))
    found = dict(merge.merged(second))
    assert calls == []
    fresh = dict(PreparedMerge(*models()).merged(second))
    assert torch.equal(found[NAME], fresh[NAME])


@spectral
def test_processes_that_share_a_directory_prepare_once(method, monkeypatch, tmp_path):
    first = dict(PreparedMerge(*models(), prepared=tmp_path).merged(recipe_of(method)))
    calls = count_decompositions(monkeypatch)
    second = dict(PreparedMerge(*models(), prepared=tmp_path).merged(recipe_of(method)))
    assert calls == []
    assert torch.equal(first[NAME], second[NAME])
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left


def test_factors_of_models_that_changed_are_not_used(tmp_path):
    base, experts = models()
    before = dict(PreparedMerge(base, experts, prepared=tmp_path).merged(recipe_of("tsv")))
    experts["a"].tensors[NAME] = experts["b"].tensors[NAME] * 2
    after = dict(PreparedMerge(base, experts, prepared=tmp_path).merged(recipe_of("tsv")))
    anew = dict(PreparedMerge(base, experts).merged(recipe_of("tsv")))
    assert not torch.equal(before[NAME], after[NAME])
    assert torch.equal(after[NAME], anew[NAME])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_large_factors_are_mapped_rather_than_read(tmp_path):
    store = FactorStore(tmp_path)
    kept = store.entry(("x",), lambda: {"a": torch.ones(256, 256), "none": torch.zeros(3, 0)})
    assert kept["a"].sum() == 256 * 256
    assert kept["none"].shape == (3, 0)
    files = [path.name for path in tmp_path.rglob("*.npy")]
    mapped = Path("/proc/self/maps").read_text()
    assert sorted(files) == ["a.npy", "none.npy"]
    assert "a.npy" in mapped
    assert "none.npy" not in mapped


def test_an_entry_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = FactorStore(tmp_path / "file")
    with pytest.raises(InfrastructureError, match=r"cannot be written to .*file.*free space"):
        store.entry(("x",), lambda: {"a": torch.ones(1)})


def test_an_interrupted_preparation_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    store = FactorStore(tmp_path)
    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        store.entry(("x",), lambda: {"a": torch.ones(1)})
    assert list(tmp_path.iterdir()) == []


# Decompositions


def test_the_rank_is_that_of_a_low_rank_change_stored_in_float32():
    # Beside weights 80 times as large, as task vectors of language models are.
    (vector,) = low_rank(3, 1, (30, 20))
    base = 80 * np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    stored = (base + vector).astype(np.float32) - base
    values = decompose.svd(torch.as_tensor(stored))[1]
    assert values.tolist() == pytest.approx(np.linalg.svd(vector)[1][:3].tolist(), rel=1e-4)


def test_where_eigenvectors_do_not_converge_another_algorithm_is_tried(monkeypatch):
    def fail(matrix):
        raise torch.linalg.LinAlgError

    (vector,) = task_vectors(1, (5, 8))
    monkeypatch.setattr(torch.linalg, "eigh", fail)
    u, s, v = decompose.svd(torch.as_tensor(vector))
    assert_near(((u * s) @ v.T).numpy(), vector)
