"""Weigh: the factor of each expert, from its coefficient and from what the vectors are like.

Where the vectors themselves weigh the experts, by weights aᵢ, the factors are

    fᵢ = max|λ| · λᵢ aᵢ / Σⱼ |λⱼ| aⱼ

so that equal coefficients λ give λ times the published mean, a single expert moves by λᵢ vᵢ, and an
expert fades out with its coefficient.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Factor, Factors, Kept, Stack, add
from evomerge.merge.sums import total
from evomerge.merge.vectors import ExpertVector


def as_given(stack: Stack) -> Factors:
    """The coefficients as they stand."""
    return constant(stack.coefficients)


def shares(stack: Stack) -> Factors:
    """The coefficients divided by their sum, which must not be zero."""
    return constant(normalised(stack.coefficients))


def evenly(stack: Stack) -> Factors:
    """aᵢ = 1: λ times the plain mean at equal coefficients λ."""
    return constant(weighted(stack.coefficients, [1.0] * len(stack.coefficients)))


def by_energy(stack: Stack) -> Factors:
    """aᵢ = (mean vᵢ²)^`power`: the experts that changed the tensor most count most (VaRM)."""
    energies = [vector.energy() for vector in stack.vectors]
    most = max(energies)
    powers = [(energy / most) ** stack.setting("power") if most else 1.0 for energy in energies]
    return constant(weighted(stack.coefficients, powers))


def by_energy_of_model(stack: Stack) -> Factors:
    """aᵢ = Σ vᵢ² over all tensors of the model, whatever the layer group (MetaGPT)."""
    return constant(weighted(stack.coefficients, [_model_energy(v) for v in stack.vectors]))


def by_energy_of_selected(stack: Stack) -> Factors:
    """fᵢ = λᵢ aᵢ, aᵢ = mean vᵢ² over the entries where experts differ most (SCE).

    The entries are a fraction `select_topk` of those where they differ at all, see `_selection`.
    Shares are exact however small the vectors: mergekit makes them equal where the sum of the means
    is below 10⁻⁶, as it is for most fine-tunes.
    """
    return constant(_selected(stack, _selection(stack)))


def by_energy_on_selected(stack: Stack) -> Factors:
    """As `by_energy_of_selected`, and all factors are 0 at the entries not selected (mergekit)."""
    selection = _selection(stack)
    factors = _selected(stack, selection)
    return lambda span: [selection(span) * factor for factor in factors]


def constant(factors: Sequence[Factor]) -> Factors:
    """The same factors everywhere."""
    return lambda span: factors


def normalised(coefficients: Sequence[float]) -> tuple[float, ...]:
    """The coefficients divided by their sum, which must not be zero."""
    whole = math.fsum(coefficients)  # exact, so that the order of the experts does not matter
    return tuple(coefficient / whole for coefficient in coefficients)


def weighted(coefficients: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """The factors fᵢ of coefficients λᵢ and weights aᵢ, see above; zero where all aᵢ are."""
    scale = max(abs(coefficient) for coefficient in coefficients)
    products = [x * weight for x, weight in zip(coefficients, weights, strict=True)]
    whole = math.fsum(abs(product) for product in products)
    return tuple(scale * product / whole if whole else 0.0 for product in products)


def _model_energy(vector: ExpertVector) -> float:
    expert, _, *space = vector.key
    return vector.cache.numbers(
        (expert, *space, "energy of model"),
        lambda: (math.fsum(other.energy() for other in vector.model()),),
    )[0]


def _selected(stack: Stack, selection: Kept) -> tuple[float, ...]:
    def energy(vector: ExpertVector) -> float:
        return total(
            stack.shape, lambda span: vector.chunk(span).double().square_() * selection(span)
        )

    energies = [energy(vector) for vector in stack.vectors]
    whole = math.fsum(energies)
    return tuple(
        coefficient * (energy / whole if whole else 1.0)
        for coefficient, energy in zip(stack.coefficients, energies, strict=True)
    )


def _selection(stack: Stack) -> Kept:
    """A mask of the k entries where the experts' vectors deviate most from their mean.

    k = ⌊`select_topk` · (number of entries where they deviate at all)⌋; equals of the k-th are in.
    At 1 it is everywhere 1.
    """
    fraction = stack.setting("select_topk")
    if fraction >= 1.0:
        return lambda span: torch.ones(span.stop - span.start)
    deviation = _deviation(stack)
    k = int(fraction * total(stack.shape, lambda span: deviation(span).sign_()))
    if k == 0:
        return lambda span: torch.zeros(span.stop - span.start)
    (least,) = stack.vectors[0].ranked(deviation, [k])
    return lambda span: (deviation(span) >= least).float()


def _deviation(stack: Stack) -> Callable[[slice], Tensor]:
    """√Σ (vᵢ − vⱼ)² over the pairs: N standard deviations, exactly 0 where all are equal."""

    def deviation(span: slice) -> Tensor:
        chunks = [chunk.double() for chunk in stack.chunks(span)]
        squares = [
            (chunk - other).square_()
            for position, chunk in enumerate(chunks)
            for other in chunks[:position]
        ]
        return add(squares).sqrt_().float() if squares else torch.zeros(span.stop - span.start)

    return deviation
