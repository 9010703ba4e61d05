"""What random masks keep of a vector, counted over many draws: theirs and ours must be alike."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tests.merge.mergekit.families import FAMILIES

N_DRAWS = 400
DRAWN: Mapping[str, Mapping[str, str | float]] = {
    "dare_linear": {"sparsification": "random", "density": 0.3},
    "della_linear": {"sparsification": "della_magprune", "density": 0.4, "epsilon": 0.25},
}
"""mergekit's methods with the settings that are drawn with; a lone expert has no election."""

TENSOR = "model.layers.0.mlp.gate_proj.weight"


def vector() -> Tensor:
    """The task vector that is thinned, `(12, 8)`; none of its entries is 0."""
    family = FAMILIES["tied"]
    change = family.expert("a")[TENSOR] - family.base()[TENSOR]
    return torch.where(change == 0.0, family.change, change)


def what_is_drawn(thinned: Iterable[Tensor]) -> dict[str, list[float]]:
    """How often entries are kept, by their rank in the row, and by what the kept are multiplied.

    Args:
        thinned: one vector a draw.

    Returns:
        `kept`: the fraction of draws that keep an entry, for each rank from the smallest.
        `factor`: the mean over the draws of the factor, and its standard deviation.
    """
    whole = vector()
    stack = torch.stack(list(thinned)).double()  # (n_draws, 12, 8)
    order = whole.abs().argsort(dim=1)
    kept = (stack != 0.0).double().mean(0).gather(1, order).mean(0)
    factors = stack.abs().sum((1, 2)) / (whole.abs() * (stack != 0.0)).sum((1, 2))
    return {"kept": kept.tolist(), "factor": [float(factors.mean()), float(factors.std())]}
