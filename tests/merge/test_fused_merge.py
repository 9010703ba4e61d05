"""Compiled merges give the bits of the merges that torch's operations give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.errors import NonFiniteError
from evomerge.merge import prepared
from evomerge.merge.fused import codes
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe
from tests.merge.single import MemorySource

KNOWN = (
    *("linear", "task_arithmetic", "ties", "ties:mergekit", "dare_linear", "dare_ties"),
    *("breadcrumbs", "breadcrumbs_ties", "localize_stitch", "della", "della_linear"),
)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
NAMES = ("a", "b", "c", "d")
W = "model.layers.0.mlp.up_proj.weight"

pytestmark = pytest.mark.slow  # compiles where nothing has been compiled yet


def merged(base, experts, recipe, *, fused, out_dtype=None):
    """One merge, by compiled loops throughout or not at all, and what it is made of."""
    sources = [MemorySource({W: x}) for x in (base, *experts)]
    live = torch.full(base.shape, 7.0, dtype=out_dtype or base.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "_LEAST_FUSED", 0 if fused else 1 << 40)
        if fused:
            patch.setattr(PreparedMerge, "_write", _refused)
        merge = PreparedMerge(sources[0], dict(zip(NAMES, sources[1:], strict=False)))
        merge.materialise(recipe, {W: live})
    return live


def _refused(*args, **options):
    raise AssertionError("this merge was left to torch")


def _drawn(parameter, rng):
    """Inside the bounds and now and then at one; coefficients of either sign."""
    bounds = parameter.low, parameter.high
    value = float(rng.choice([rng.uniform(*bounds), rng.uniform(*bounds), *bounds]))
    if parameter.name == "coefficient":
        value = (value or 0.5) * float(rng.choice([1.0, -0.3]))
    return value


def recipe_of(method, n_experts, draw):
    values = {
        p.name: tuple(draw(p) for _ in range(n_experts)) if p.per_expert else draw(p)
        for p in METHODS[method].parameters
    }
    return Recipe(NAMES[:n_experts], {"layers.0-0": GroupRecipe(method, values)}, seed=5)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(), (1,), (7,), (3, 5), (2, 3, 4), (37, 41), (50, 130)]))
    n = draw(st.integers(2, 4))
    dtypes = [draw(st.sampled_from(DTYPES)) for _ in range(n + 2)]
    scale = draw(st.sampled_from([1e-30, 1e-6, 1e-2, 1.0]))
    base = torch.as_tensor(rng.normal(size=shape)).to(dtypes[0])
    base[torch.as_tensor(rng.random(shape) < 0.1)] = -0.0
    experts = [
        (base.double() + scale * torch.as_tensor(rng.normal(size=shape))).to(dtype)
        for dtype in dtypes[1:-1]
    ]
    return base, experts, dtypes[-1], rng


@pytest.mark.parametrize("method", KNOWN)
@settings(max_examples=60)
@given(case=cases())
def test_compiled_loops_give_the_same_bits(method, case):
    base, experts, out_dtype, rng = case
    recipe = recipe_of(method, len(experts), lambda p: _drawn(p, rng))
    fused, plain = (
        merged(base, experts, recipe, fused=fused, out_dtype=out_dtype) for fused in (True, False)
    )
    assert torch.equal(fused.reshape(-1).view(torch.uint8), plain.reshape(-1).view(torch.uint8))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(9, 1), (1, 1), (3000,), (70_000,), (3, 5000), (700, 9), (2, 3, 4096)]),
    dtype=st.sampled_from(DTYPES),
    spread=st.sampled_from([0.0, 1.0, 12.0]),
    n_levels=st.sampled_from([1, 3, 100, 0]),
)
def test_compiled_ranks_in_rows_are_those_of_a_stable_sort(seed, shape, dtype, spread, n_levels):
    rng = np.random.default_rng(seed)
    change = rng.normal(size=shape) * np.exp(spread * rng.normal(size=shape))
    change = change.clip(-100.0, 100.0)  # float16 has what it is scaled to
    if n_levels:  # many equals
        change = np.round(change.clip(-n_levels, n_levels))
    change[..., : shape[-1] // 3] *= rng.random((*shape[:-1], 1)) < 0.5  # with many zeros
    expert = torch.as_tensor(change).to(dtype)
    base = torch.zeros(shape, dtype=dtype)
    recipe = recipe_of("della_linear", 2, lambda p: _drawn(p, rng))
    fused, plain = (
        merged(base, [expert, -expert / 2], recipe, fused=fused, out_dtype=torch.float32)
        for fused in (True, False)
    )
    assert torch.equal(fused, plain)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 5, 300, 5000]),
    dtype=st.sampled_from(DTYPES),
    spread=st.sampled_from([0.0, 1.0, 12.0]),
)
def test_a_sketch_and_one_pass_find_the_exact_magnitude_of_a_rank(seed, n, dtype, spread):
    from evomerge.merge.fused.sketches import Sketches

    rng = np.random.default_rng(seed)
    vector = torch.as_tensor(rng.normal(size=n) * np.exp(spread * rng.normal(size=n))).to(dtype)
    vector = vector.nan_to_num(0.0, 1.0, -1.0)
    vector[torch.as_tensor(rng.random(n) < 0.3)] = 0.0
    descending = vector.float().abs().sort(descending=True).values.tolist()
    places = np.array([(0, 0), (vector.data_ptr(), codes.DTYPES[dtype])])
    sketches = Sketches()
    ranks = {int(rank) for rank in rng.integers(1, n + 1, size=3)}
    found = sketches.magnitudes("vector", places, n, ranks)
    assert found == {rank: descending[rank - 1] for rank in ranks}
    assert sketches.n_bytes <= max(vector.nbytes / 20, 4) + 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_a_compiled_merge_that_is_not_finite_is_refused_as_any_other(value):
    base, expert = torch.zeros(2000), torch.ones(2000)
    expert[1500] = value
    recipe = Recipe(("a",), {"layers.0-0": GroupRecipe("task_arithmetic", {"coefficient": 1.5})})
    merge = PreparedMerge(MemorySource({W: base}), {"a": MemorySource({W: expert})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "_LEAST_FUSED", 0)
        with pytest.raises(NonFiniteError, match=rf"task_arithmetic merge of tensor '{W}' has 1 "):
            merge.materialise(recipe, {W: torch.empty(2000)})
