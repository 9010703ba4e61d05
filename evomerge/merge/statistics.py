"""What a merge may know about how the models treat text: collected once, the same for every recipe.

    grams        of an expert: E[x xᵀ] of the inputs of each linear map, on the expert's own text
    fisher       of an expert: E[g²] of each weight, g the gradient of a text's log-likelihood
    activations  of the base: E|xⱼ| of the inputs of each linear map and norm, on general text

They travel as tensors under the names of the weights that they belong to. Where the inputs run
along the rows of a weight, as in GPT-2's `Conv1D`, the name has `ROWS` behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from evomerge.errors import ShapeError, UsageError
from evomerge.records import TensorSource

Kind = Literal["grams", "fisher", "activations"]

BASE = "base"
"""The name under which statistics of the base are kept, which no expert may have."""

ROWS = ":rows"

OF_BASE: tuple[Kind, ...] = ("activations",)
"""The kinds that are collected with the base, rather than with each expert."""

Sources = Mapping[Kind, Mapping[str, TensorSource]]
"""What was collected, by its kind and by the name of the model."""


def models_of(kind: Kind, experts: Sequence[str]) -> tuple[str, ...]:
    """The models of which a merge of these experts needs statistics of this kind."""
    return (BASE,) if kind in OF_BASE else tuple(experts)


@dataclass(frozen=True)
class OfInputs:
    """A statistic of the inputs of one weight.

    Args:
        values: its last dimension runs over the d inputs: `(d,)`, `(d, d)` or a stack of these.
        over_rows: whether the weight's rows are its inputs, rather than its columns.
    """

    values: Tensor
    over_rows: bool


@dataclass(frozen=True)
class Statistics:
    """The statistics that a merge can read."""

    sources: Sources

    def require(self, kinds: Sequence[Kind], experts: Sequence[str], *, method: str) -> None:
        """Make sure that a merge of these experts finds what its method needs.

        Raises:
            UsageError: some are not there.
        """
        for kind in kinds:
            for model in models_of(kind, experts):
                if model not in self.sources.get(kind, {}):
                    raise UsageError(
                        f"{method} needs {kind} of {model}, statistics that are not there; collect "
                        "them with `evomerge prepare CONFIG`, and give them to PreparedMerge as "
                        "its `statistics`"
                    )

    def of_weight(self, kind: Kind, model: str, name: str) -> Tensor | None:
        """What was collected for each entry of a weight; None where nothing was."""
        source = self.sources[kind][model]
        return source.read(name) if name in source.infos() else None

    def of_inputs(self, kind: Kind, model: str, name: str, shape: Sequence[int]) -> OfInputs | None:
        """What was collected about the inputs of a weight; None where nothing was.

        Raises:
            ShapeError: it was collected from inputs of another number.
        """
        infos = self.sources[kind][model].infos()
        for key, over_rows in ((name, False), (name + ROWS, True)):
            if key in infos:
                found, expected = infos[key].shape[-1], shape[-2 if over_rows else -1]
                if found != expected:
                    raise ShapeError(
                        f"the {kind} of {model} for tensor '{name}' are about {found} inputs, "
                        f"expected {expected}; collect them anew with `evomerge prepare CONFIG`"
                    )
                return OfInputs(self.sources[kind][model].read(key), over_rows)
        return None
