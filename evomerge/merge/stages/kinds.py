"""What a stage is. A method moves the base by Δ, made of the experts' vectors v₁ … v_N of a tensor:

    space → sparsify → weigh → elect → combine → post → apply

Vectors and results are flat chunks, `(span,)` float32. A stage that needs to know more of a tensor
than a chunk (a norm, a quantile, a count) reads what it needs before the first chunk, in the
function that it is; what it returns gives the values span by span.

Sums over experts are taken one by one in a fixed order: torch's own reductions round differently at
different lengths, and a merge must not depend on how its tensors are cut. Masks are float32, 1 or
0, and made by arithmetic: on a CPU torch compares, and multiplies by booleans, several times slower
than it multiplies floats.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from evomerge.merge.vectors import ExpertVector

Settings = Mapping[str, float]
"""The values of a method's parameters for one expert."""

Kept = Callable[[slice], Tensor]
"""Gives the sparsified vector v̂ on a span; not to be written to."""

Factor = float | Tensor
"""What a vector is multiplied by: a number, or one for each entry of the span."""

Factors = Callable[[slice], Sequence[Factor]]
"""Gives the factor fᵢ of each expert on a span."""

Finish = Callable[[slice, Tensor], Tensor]
"""Gives the final Δ on a span from the combined one, which it may change."""


@dataclass(frozen=True)
class Stack:
    """The vectors of a tensor that are merged, one a live expert, with their part of the recipe.

    Args:
        vectors: the experts' vectors vᵢ.
        coefficients: λᵢ of each, none of them zero.
        settings: the values of the method's parameters for each.
    """

    vectors: Sequence[ExpertVector]
    coefficients: Sequence[float]
    settings: Sequence[Settings]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.vectors[0].shape

    @property
    def n(self) -> int:
        """The number of entries."""
        return self.vectors[0].n

    @property
    def row(self) -> int:
        """The length of the last dimension."""
        return self.vectors[0].row

    @property
    def depth(self) -> float:
        """How deep in the model the tensor lies, see `groups.depths`."""
        return self.vectors[0].depth

    def setting(self, name: str) -> float:
        """The value of a parameter that is the same for all experts."""
        return self.settings[0][name]

    def chunks(self, span: slice) -> list[Tensor]:
        """Each expert's vector on a span."""
        return [vector.chunk(span) for vector in self.vectors]

    def numbers(
        self, what: Hashable, compute: Callable[[], tuple[float, ...]]
    ) -> tuple[float, ...]:
        """A few numbers about these vectors, known by `what`, kept between candidates."""
        key = (what, *(vector.key for vector in self.vectors))
        return self.vectors[0].cache.numbers(key, compute)


@dataclass(frozen=True)
class Moves:
    """The weighed vectors on a span, as they are combined.

    Args:
        values: `(span,)` fᵢ v̂ᵢ of each expert.
        factors: fᵢ of each.
        coefficients: λᵢ of each.
        elected: `(span,)` mask of each, or nothing where everyone takes part.
    """

    values: Sequence[Tensor]
    factors: Sequence[Factor]
    coefficients: Sequence[float]
    elected: Sequence[Tensor]

    def masked(self) -> list[Tensor]:
        """The weighed vectors of those that take part, 0 elsewhere; not to be written to."""
        if not self.elected:
            return list(self.values)
        return [x * mask for x, mask in zip(self.values, self.elected, strict=True)]


Sparsify = Callable[[ExpertVector, Settings], Kept]
Weigh = Callable[[Stack], Factors]
Elect = Callable[[Sequence[Tensor]], list[Tensor]]
Combine = Callable[[Moves], Tensor]
Post = Callable[[Stack], Finish]
Whole = Callable[[Stack, Tensor], Tensor]
"""Gives the final Δ of a tensor from the combined one, both `(n,)`; it may change what it gets."""
Matrix = Callable[[Stack], Tensor]
"""Gives Δ of a whole matrix, or of a stack of them: `(n,)` float32, the caller's to change."""


def add(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors, one by one in their order, as a new tensor."""
    first, *others = terms
    if not others:
        return first.clone()
    result = first + others[0]
    for term in others[1:]:
        result += term
    return result
