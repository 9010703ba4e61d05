"""Our merge of a case, and how far two merges of it are apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from evomerge.merge.prepared import PreparedMerge
from evomerge.records import Recipe, TensorInfo
from tests.merge.mergekit.cases import Case
from tests.merge.mergekit.families import Family

FIXTURES = Path(__file__).parent
"""Where mergekit's merges are stored: `outputs.safetensors`, and `manifest.json`."""

ULP = 2.0**-23
"""A unit in the last place of 1 in float32."""


class Tensors:
    """A model held in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def infos(self) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(name, tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


def merge(case: Case, family: Family) -> dict[str, Tensor]:
    """The case merged by evomerge."""
    return merge_recipe(case.recipe(family), family)


def merge_recipe(recipe: Recipe, family: Family) -> dict[str, Tensor]:
    """The recipe merged by evomerge."""
    models = {name: Tensors(tensors) for name, tensors in family.models().items()}
    experts = {name: models[name] for name in recipe.experts}
    return dict(PreparedMerge(models["base"], experts).merged(recipe))


def stored(case: Case, family: Family) -> dict[str, Tensor]:
    """The case merged by mergekit."""
    return stored_as(f"{case.name}/{family.name}", family)


def stored_as(name: str, family: Family) -> dict[str, Tensor]:
    """What mergekit merged of the family under this name."""
    with safe_open(FIXTURES / "outputs.safetensors", framework="pt") as file:
        return {tensor: file.get_tensor(f"{name}/{tensor}") for tensor in family.shapes()}


@dataclass(frozen=True)
class Gap:
    """How far two merges of a tensor are apart.

    Args:
        difference: the largest absolute difference.
        in_ulps: the same in units in the last place of the tensor's largest weight.
        of_change: the same as a fraction of the mean magnitude of the experts' changes.
        n_beyond: how many entries differ by more than `WITHIN` of these units.
    """

    difference: float
    in_ulps: float
    of_change: float
    n_beyond: int


WITHIN = 4.0
"""Units in the last place by which float32 sums in another order may differ."""


def gap(ours: Tensor, theirs: Tensor, *, largest: float, change: float) -> Gap:
    """How far two merges of a tensor are apart, taken in float64.

    Args:
        ours: one.
        theirs: the other.
        largest: the largest weight of the tensor in the base and the experts.
        change: the mean magnitude of the experts' changes of the tensor.
    """
    differences = (ours.double() - theirs.double()).abs()
    most = float(differences.max())
    unit = ULP * largest
    return Gap(most, most / unit, most / change, int((differences > WITHIN * unit).sum()))


def gaps(
    names: Sequence[str],
    family: Family,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
) -> dict[str, Gap]:
    """The gap of each tensor of the family, merged from the experts `names`."""
    models = family.models()
    base = models["base"]
    experts = [models[name] for name in names]
    return {
        name: gap(
            ours[name],
            theirs[name],
            largest=max(float(m[name].abs().max()) for m in (base, *experts)),
            change=float(torch.stack([m[name] - base[name] for m in experts]).abs().mean()),
        )
        for name in family.shapes()
    }
