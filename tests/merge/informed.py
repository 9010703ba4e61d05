"""Made-up statistics of text, for tests that merge by any method."""

from collections.abc import Mapping

import torch
from torch import Tensor

from evomerge.merge.groups import is_matrix
from evomerge.merge.prepared import PreparedMerge
from evomerge.merge.statistics import Sources
from evomerge.records import TensorSource
from tests.merge.memory import MemorySource

BASE_SEED = 7


def prepared(base: TensorSource, experts: Mapping[str, TensorSource]) -> PreparedMerge:
    """A merge of models about which everything is known that a method may ask for."""
    return PreparedMerge(base, experts, made_up_statistics(base, tuple(experts)))


def made_up_statistics(base: TensorSource, experts: tuple[str, ...]) -> Sources:
    """Random statistics of every kind; those of an expert depend on its name and the shapes."""
    return {
        "grams": {expert: MemorySource(_grams(base, expert)) for expert in experts},
        "fisher": {expert: MemorySource(_fisher(base, expert)) for expert in experts},
        "activations": {"base": MemorySource(_activations(base))},
    }


def gram(d: int, generator: torch.Generator, n_tokens: int = 20) -> Tensor:
    """E[x xᵀ] of random inputs, `(d, d)`."""
    inputs = torch.randn(n_tokens, d, generator=generator)
    return inputs.T @ inputs / n_tokens


def _grams(base: TensorSource, expert: str) -> dict[str, Tensor]:
    generator = _generator(expert)
    return {
        name: torch.stack([gram(info.shape[-1], generator) for _ in range(info.shape[0])])
        if len(info.shape) == 3
        else gram(info.shape[-1], generator)
        for name, info in base.infos().items()
        if is_matrix(name, info.shape)
    }


def _fisher(base: TensorSource, expert: str) -> dict[str, Tensor]:
    generator = _generator(expert)
    return {
        name: torch.randn(info.shape, generator=generator).square()
        for name, info in base.infos().items()
        if info.dtype.is_floating_point
    }


def _activations(base: TensorSource) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(BASE_SEED)
    return {
        name: torch.rand(info.shape[-1], generator=generator)
        for name, info in base.infos().items()
        if len(info.shape) in (1, 2) and "embed" not in name
    }


def _generator(expert: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(expert.encode()))
