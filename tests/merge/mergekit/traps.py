"""Where mergekit's guards and shortcuts change a merge, and evomerge's row says that it differs.

Each trap tells of a tensor whether it is caught in it, from the experts' task vectors alone.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tests.merge.mergekit.cases import Case
from tests.merge.mergekit.families import Family

Trap = Callable[[Case, Family, str], bool]


def vectors(case: Case, family: Family, name: str) -> Tensor:
    """`(n_experts, *shape)` task vectors, float64."""
    models = family.models()
    stack = torch.stack([models[expert][name] - models["base"][name] for expert in case.experts])
    return stack.double()


def drops_no_outlier(case: Case, family: Family, name: str) -> bool:
    """Breadcrumbs: where ⌊γ n⌋ is 0 mergekit slices up to minus 0, and keeps nothing at all."""
    n = vectors(case, family, name)[0].numel()
    return any(int(float(gamma) * n) == 0 for gamma in case.each["gamma"])


def has_no_angle(case: Case, family: Family, name: str) -> bool:
    """Model Stock: mergekit turns cosines of short vectors to 0, and follows negative ones."""
    stack = vectors(case, family, name)
    rows = stack if case.name == "model_stock_rows" else stack.flatten(1)
    rows = rows.reshape(len(stack), -1, rows.shape[-1])  # (N, R, n)
    gram = torch.einsum("irn,jrn->ijr", rows, rows)
    lengths = rows.norm(dim=2)
    pairs = torch.triu_indices(len(stack), len(stack), offset=1)
    products = lengths[pairs[0]] * lengths[pairs[1]]
    cosines = gram[pairs[0], pairs[1]] / products
    return bool((products.min() < 1e-6) | (cosines.mean(0).min() < 0.0))


def is_small(case: Case, family: Family, name: str) -> bool:
    """SCE: where mean squares sum to less than 10⁻⁶ mergekit weighs the experts equally."""
    return float(vectors(case, family, name).square().flatten(1).mean(1).sum()) < 1e-6


def has_fine_divergences(case: Case, family: Family, name: str) -> bool:
    """Arcee Fusion: divergences of rows below the rounding of float32, in which mergekit sums."""
    return family.change < 5e-3


def has_an_angle_that_rounds_to_0(case: Case, family: Family, name: str) -> bool:
    """Karcher: mergekit leaves out an expert whose cosine with the mean rounds to 1 in float32."""
    models = family.models()
    stack = torch.stack([models[expert][name].double().flatten() for expert in case.experts])
    units = stack / stack.norm(dim=1, keepdim=True)
    mean = units.mean(0)
    return bool((1.0 - units @ (mean / mean.norm())).min() < 2.0**-23)


TRAPS: Mapping[str, Trap] = {
    "breadcrumbs": drops_no_outlier,
    "model_stock": has_no_angle,
    "model_stock_rows": has_no_angle,
    "sce": is_small,
    "sce_half": is_small,
    "arcee_fusion": has_fine_divergences,
    "karcher": has_an_angle_that_rounds_to_0,
}
"""The trap of a case, where it has one."""


def is_caught(case: Case, family: Family, name: str) -> bool:
    """Whether mergekit's merge of the tensor is the work of a guard or a shortcut."""
    return case.name in TRAPS and TRAPS[case.name](case, family, name)
