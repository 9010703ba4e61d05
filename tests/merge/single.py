"""Merges of single tensors, and what they are drawn from, for tests of formulas."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evomerge.merge.groups import layer_groups
from evomerge.merge.prepared import PreparedMerge
from evomerge.merge.random_bits import N_VALUES, random_bits, stream_key
from evomerge.records import GroupRecipe, Recipe
from tests.merge.informed import made_up_statistics
from tests.merge.memory import MemorySource

NAMES = ("a", "b", "c", "d", "e")

COMPOSED = (
    *("ties+lines", "dare_ties+slack+lines", "task_arithmetic+norm_match", "slerp+lines"),
    *("ties+aim", "linear+aim"),
    *(
        "knots(task_arithmetic)",
        "knots(ties+slack)",
        "core(dare_ties)",
        "core(ties)+lines",
    ),
)
"""Methods that are not in the table but made of what is."""


def merge_models(method, base, experts, *, seed=0, statistics=None, **values):
    """Merge models given as mappings of arrays, with the same values in every layer group."""
    base, *experts = (
        MemorySource({name: torch.as_tensor(x) for name, x in model.items()})
        for model in (base, *experts)
    )
    models = dict(zip(NAMES, experts, strict=False))
    groups = layer_groups(base.tensors, granularity=1, split_modules=False)
    group = GroupRecipe(method, values)
    recipe = Recipe(tuple(models), dict.fromkeys(groups, group), seed=seed)
    if statistics is None:
        statistics = made_up_statistics(base, tuple(models))
    return dict(PreparedMerge(base, models, statistics).merged(recipe))


def merge_arrays(method, base, experts, *, name="w", **others):
    """Merge models of a single tensor, given as arrays."""
    experts = [{name: expert} for expert in experts]
    return merge_models(method, {name: base}, experts, **others)[name]


@st.composite
def families(draw, *, most_experts=5, least_experts=1, min_dims=0, least=0.0):
    """A base, experts and a coefficient for each; shapes of up to three dimensions."""
    n = draw(st.integers(least_experts, most_experts))
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=3, max_side=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
    draws = torch.as_tensor(rng.normal(size=(n + 1, *shape))).to(dtype)
    coefficients = tuple(draw(st.floats(least, 1.5)) for _ in range(n))
    return draws[0], list(draws[1:]), coefficients


def task_vectors(base, experts):
    """`(N, *shape)` float64, subtracted in float32 as everywhere."""
    return torch.stack([expert.float() - base.float() for expert in experts]).double()


def column(values, like):
    """`(N,)` numbers that multiply `(N, *shape)`."""
    return torch.tensor(values, dtype=torch.float64).view(-1, *[1] * (like.dim() - 1))


def uniform_draws(base, n_experts, *, seed=0, name="w"):
    """The random numbers in [0, 1) of each expert's entries, `(N, *shape)` float64."""
    streams = [
        random_bits(stream_key(seed, expert, name), 0, base.numel()).view(base.shape)
        for expert in NAMES[:n_experts]
    ]
    return torch.stack(streams).double() / N_VALUES


def assert_close(merged, expected, *, atol=8 * 2.0**-23):
    eps = torch.finfo(merged.dtype).eps
    assert merged.shape == expected.shape
    assert torch.allclose(merged.double(), expected, rtol=eps, atol=atol)
