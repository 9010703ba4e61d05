"""Small models in memory for the tests of merging."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import find_method
from evomerge.records import GroupRecipe, Recipe
from tests.merge.memory import MemorySource

torch.set_num_threads(1)
settings.register_profile("merge", deadline=None)  # no timing assertions: machines are shared
settings.load_profile("merge")

SHAPES = {
    "model.embed_tokens.weight": (11, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.mlp.experts.gate_up_proj": (2, 3, 8),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.layers.1.self_attn.q_proj.weight": (8, 8),
    "model.layers.1.mlp.scale": (),
    "model.layers.1.mlp.unused": (0, 4),
    "model.norm.weight": (8,),
    "lm_head.weight": (11, 8),
}


@pytest.fixture(scope="session")
def source() -> type[MemorySource]:
    return MemorySource


@pytest.fixture(scope="session")
def model() -> Callable[..., MemorySource]:
    """Makes a random model; near `base`, when given, as a fine-tune is near its base."""

    def make(
        seed: int, dtype: torch.dtype = torch.bfloat16, base: MemorySource | None = None
    ) -> MemorySource:
        generator = torch.Generator().manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for name, shape in SHAPES.items():
            noise = torch.randn(shape, generator=generator)
            tensors[name] = noise.to(dtype)
            if base is not None:
                changed = base.tensors[name].float() + 0.05 * noise
                tensors[name] = changed.to(dtype)
        tensors["model.layers.0.positions"] = torch.arange(4) + seed
        return MemorySource(tensors)

    return make


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    """Makes a recipe with one method and the same values in every group of the small models.

    Parameters not given are at their defaults.
    """

    def make(
        method: str, experts: tuple[str, ...], *, seed: int = 0, **values: float | tuple[float, ...]
    ) -> Recipe:
        group = GroupRecipe(method, {**find_method(method).defaults(), **values})
        names = layer_groups(SHAPES, granularity=1, split_modules=False)
        return Recipe(experts, dict.fromkeys(names, group), seed=seed)

    return make


@pytest.fixture(scope="session")
def same_bits() -> Callable[[Tensor, Tensor], bool]:
    """Whether two tensors are equal in shape, dtype and every bit (0.0 is not -0.0)."""

    def compare(a: Tensor, b: Tensor) -> bool:
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))

    return compare
