"""Methods in common bases: knots(METHOD) and core(METHOD)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import UsageError
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS, find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, LowRankSource, Recipe
from tests.merge.memory import MemorySource
from tests.merge.single import merge_arrays
from tests.merge.spectral import NAME, assert_near, low_rank, merged, task_vectors
from tests.merge.test_merge_formulas import plain_ties

FAMILIES = [task_vectors(2, (6, 9)), task_vectors(3, (9, 5)), low_rank(2, 3, (12, 10))]


@pytest.mark.parametrize("basis", ["knots", "core"])
@pytest.mark.parametrize("vectors", FAMILIES)
def test_task_arithmetic_is_the_same_in_every_basis(basis, vectors):
    coefficients = tuple(np.linspace(0.3, 1.1, len(vectors)))
    expected = np.tensordot(coefficients, vectors, 1)
    found = merged(f"{basis}(task_arithmetic)", vectors, coefficient=coefficients)
    assert_near(found, expected, rtol=1e-6)


def ties(vectors, density=0.4):
    zero = torch.zeros(vectors[0].shape)
    experts = [torch.as_tensor(vector, dtype=torch.float32) for vector in vectors]
    return plain_ties(zero, experts, 1.0, density).numpy()


@pytest.mark.parametrize("vectors", FAMILIES)
def test_knots_merges_what_follows_the_common_left_singular_vectors(vectors):
    u, s, vt = np.linalg.svd(np.hstack(vectors), full_matrices=False)
    kept = s > 1e-5 * s[0]
    parts = np.split(np.diag(s[kept]) @ vt[kept], len(vectors), axis=1)
    expected = u[:, kept] @ ties(parts)
    assert_near(merged("knots(ties)", vectors, density=0.4), expected, rtol=1e-4)


class Adapted(MemorySource):
    """An expert that offers the factors of its task vectors."""

    def __init__(self, tensors, products):
        super().__init__(tensors)
        self.products = products

    def factors(self, name):
        return self.products.get(name)


def adapters(shape=(12, 10), rank=2):
    rng = np.random.default_rng(5)
    return [
        (torch.tensor(rng.normal(size=(shape[0], rank)), dtype=torch.float32), a)
        for a in torch.tensor(rng.normal(size=(3, rank, shape[1])), dtype=torch.float32)
    ]


def merge_adapters(method, pairs, *, with_factors, **values):
    assert issubclass(Adapted, LowRankSource)
    base = MemorySource({NAME: torch.zeros(pairs[0][0].shape[0], pairs[0][1].shape[1])})
    experts = {
        name: Adapted({NAME: b @ a}, {NAME: (b, a)} if has else {})
        for name, (b, a), has in zip("abc", pairs, with_factors, strict=True)
    }
    recipe = Recipe(
        tuple(experts), {"layers.0-0": GroupRecipe(method, {"coefficient": 1.0} | values)}
    )
    return dict(PreparedMerge(base, experts).merged(recipe))[NAME].double().numpy()


def plain_core(pairs, density):
    """Core space as published: bases of all B and all A, the method on the small matrices."""
    pairs = [(b.double().numpy(), a.double().numpy()) for b, a in pairs]
    left = np.linalg.svd(np.hstack([b for b, _ in pairs]), full_matrices=False)[0]
    right = np.linalg.svd(np.vstack([a for _, a in pairs]), full_matrices=False)[2]
    cores = [left.T @ b @ a @ right.T for b, a in pairs]
    return left @ ties(cores, density) @ right


def test_core_merges_small_matrices_in_the_bases_of_the_adapters_factors():
    pairs = adapters()
    found = merge_adapters("core(ties)", pairs, with_factors=(True,) * 3, density=0.4)
    assert_near(found, plain_core(pairs, 0.4), rtol=1e-4)


def balanced(pair):
    u, s, vt = np.linalg.svd((pair[0].double() @ pair[1].double()).numpy())
    rank = pair[1].shape[0]
    root = np.diag(np.sqrt(s[:rank]))
    return torch.as_tensor(u[:, :rank] @ root), torch.as_tensor(root @ vt[:rank])


def test_core_takes_singular_vectors_where_an_expert_has_no_factors():
    pairs = adapters()
    found = merge_adapters("core(ties)", pairs, with_factors=(True, False, True), density=0.4)
    expected = plain_core([pairs[0], balanced(pairs[1]), pairs[2]], 0.4)
    assert_near(found, expected, rtol=1e-4)


@pytest.mark.parametrize("with_factors", [(True, False, True), (False,) * 3])
def test_core_of_task_arithmetic_does_not_care_where_factors_come_from(with_factors):
    pairs = adapters()
    found = merge_adapters("core(task_arithmetic)", pairs, with_factors=with_factors)
    assert_near(found, sum(b.double() @ a.double() for b, a in pairs).numpy(), rtol=1e-6)


@pytest.mark.parametrize("basis", ["knots", "core"])
def test_what_is_no_matrix_of_a_layer_is_merged_by_the_method_itself(basis):
    experts = list(np.random.default_rng(0).normal(size=(3, 4, 6)))
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        values = {"name": name, "coefficient": 0.7, "density": 0.5}
        found = merge_arrays(f"{basis}(ties)", np.zeros((4, 6)), experts, **values)
        assert torch.equal(found, merge_arrays("ties", np.zeros((4, 6)), experts, **values))


def test_random_masks_stay_the_same_from_candidate_to_candidate():
    vectors = task_vectors(2, (8, 9))
    values = {"density": 0.5}
    whole, half = (
        merged("knots(dare_linear)", vectors, coefficient=c, **values) for c in (1.0, 0.5)
    )
    np.testing.assert_array_equal(whole * 0.5, half)


WRAPPABLE = [
    name
    for name, method in METHODS.items()
    if method.space == "task_vectors"
    and not (method.matrix or method.whole_model or method.reads_weights or method.statistics)
]


@pytest.mark.parametrize("basis", ["knots", "core"])
@pytest.mark.parametrize("inner", WRAPPABLE)
def test_every_method_of_task_vectors_merges_in_a_basis(basis, inner):
    method = find_method(f"{basis}({inner})")
    vectors = task_vectors(method.n_experts or 3, (6, 7))
    values = {p.name: p.default for p in method.parameters}
    assert np.isfinite(merged(method.name, vectors, **values)).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("knots(linear)", "linear merges whole weights, expected .*such as knots"),
        ("core(metagpt)", "metagpt reads the whole model"),
        ("knots(widen)", "widen looks at the weights themselves"),
        ("knots(tsv)", "tsv merges matrices as a whole"),
        ("core(knots(ties))", r"knots\(ties\) merges matrices as a whole"),
        ("knots(ties+svc)", r"ties\+svc has a stage behind it"),
        ("knots(tyes)", "'tyes' is not known.*did you mean 'ties'"),
        ("nots(ties)", r"in method 'nots\(ties\)' the basis 'nots' is not known.*'knots'"),
        ("knots(ties", r"'knots\(ties' is not known"),
    ],
)
def test_bases_of_what_is_no_method_of_task_vectors_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        find_method(name)


def test_a_method_in_a_basis_keeps_its_parameters():
    method = find_method("knots(ties+slack)+lines")
    names = [parameter.name for parameter in method.parameters]
    assert names == ["coefficient", "density", "slack.share", "lines.start", "lines.slope"]


def test_core_works_in_the_bases_of_a_real_adapter():
    zoo = Path(__file__).parents[2] / "experiments/zoo"
    base = open_checkpoint(zoo / "models/base")
    expert = open_model(zoo / "adapters/math", base)
    groups = layer_groups(base.infos(), granularity=1, split_modules=False)
    factors = {name: expert.factors(name) for name in base.infos()}
    (name, (b, a)) = next((name, pair) for name, pair in factors.items() if pair is not None)

    def change(method, **values):
        group = GroupRecipe(method, {"coefficient": 0.5} | values)
        recipe = Recipe(("math",), dict.fromkeys(groups, group))
        merge = PreparedMerge(base, {"math": expert})
        live = {name: torch.empty(info.shape) for name, info in base.infos().items()}
        merge.materialise(recipe, live)
        return (live[name].double() - base.read(name).double()).numpy()

    expected = 0.5 * (b.double() @ a.double()).numpy()
    tolerance = 2 * torch.finfo(base.read(name).dtype).eps * base.read(name).abs().max().item()
    assert np.abs(change("core(task_arithmetic)") - expected).max() < tolerance
    whole = change("core(ties)", density=1.0)
    assert np.abs(whole - expected).max() < tolerance
    assert np.linalg.norm(whole) > 0.0
