"""Stages that know how the models treat text, see `merge.statistics`."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Factor, Factors, Finish, Stack, add
from evomerge.merge.stages.weigh import constant, normalised
from evomerge.merge.statistics import BASE, Statistics
from evomerge.merge.sums import total
from evomerge.merge.vectors import ExpertVector

_EPS = torch.finfo(torch.float32).eps
"""Statistics are kept in float32: what they say below this is noise."""


def closest_to_outputs(stack: Stack) -> Tensor:
    """The matrix whose outputs come closest to those of every expert on its own text (RegMean).

    With the Gram matrices Gᵢ of the experts' inputs, whose entries off the diagonal count
    `off_diagonal` times, and shares wᵢ of the coefficients,

        W = Σ wᵢ Wᵢ Gᵢ (Σ wᵢ Gᵢ)⁻¹ = M + Σ wᵢ (Wᵢ − M) Gᵢ (Σ wᵢ Gᵢ)⁺,   M = Σ wᵢ Wᵢ

    The form on the right is the mean M where no text says more: for inputs that no expert has seen,
    such as those of an expert of a mixture that no token was sent to, and for matrices without a
    Gram. Equal Grams give M. Worked in float64 with a few matrices of the size of the one merged.
    The coefficients are inside of the inverse, so that there is nothing to prepare: a candidate
    costs N − 1 products of W and G, and a solve, for each matrix.
    """
    shape, name = stack.shape, stack.vectors[0].tensor
    found = [
        vector.statistics.of_inputs("grams", vector.expert, name, shape) for vector in stack.vectors
    ]
    grams = [gram for gram in found if gram is not None]
    n_entries = shape[-2] * shape[-1]
    delta = torch.empty(stack.n // n_entries, *shape[-2:])
    for place, matrix in enumerate(delta):
        span = slice(place * n_entries, (place + 1) * n_entries)
        weights = [chunk.view(shape[-2:]).double() for chunk in stack.chunks(span)]
        if len(grams) < len(weights):
            matrix.copy_(_mean(weights, normalised(stack.coefficients)))
            continue
        if grams[0].over_rows:
            matrix, weights = matrix.T, [weight.T for weight in weights]
        on_inputs = [_matrices(gram.values)[place].double() for gram in grams]
        shares = normalised(stack.coefficients)
        matrix.copy_(_regressed(weights, on_inputs, shares, stack.setting("off_diagonal")))
    return delta.view(-1)


def _matrices(grams: Tensor) -> Tensor:
    return grams.reshape(-1, *grams.shape[-2:])


def _mean(weights: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Σ wᵢ Wᵢ, exactly W where all are equal."""
    first = weights[0]
    moves = [(weight - first) * share for weight, share in zip(weights, shares, strict=True)]
    return first + add(moves)


def _regressed(
    weights: Sequence[Tensor], grams: Sequence[Tensor], shares: Sequence[float], off_diagonal: float
) -> Tensor:
    """W from Wᵢ `(n_outputs, d)` and Gᵢ `(d, d)`, all float64."""
    mean = _mean(weights, shares)
    pull = torch.zeros_like(mean)
    first = _shrunk(grams[0], off_diagonal)
    whole = first * shares[0]
    for weight, gram, share in zip(weights[1:], grams[1:], shares[1:], strict=True):
        shrunk = _shrunk(gram, off_diagonal)
        whole += share * shrunk
        # As Σ wᵢ (Wᵢ − M) = 0, any one Gram may be subtracted from all: a product less.
        pull += share * ((weight - mean) @ shrunk.sub_(first))
    return mean + _solved(pull, whole, least=1.0 - off_diagonal)


def _shrunk(gram: Tensor, off_diagonal: float) -> Tensor:
    """G with the entries off its diagonal multiplied."""
    shrunk = gram * off_diagonal
    shrunk.diagonal().copy_(gram.diagonal())
    return shrunk


def _solved(pull: Tensor, gram: Tensor, *, least: float) -> Tensor:
    """X = P G⁺, the unit of each input taken out first, so that no threshold depends on it.

    Scaled to a diagonal of ones, G is a correlation matrix. Its eigenvalues are `least` or more
    where entries off the diagonal were shrunk; else those that are rounding are left out.

    Args:
        pull: `(n_outputs, d)` P.
        gram: `(d, d)` G, positive semi-definite.
        least: a lower bound of the correlation matrix's eigenvalues.
    """
    units = gram.diagonal().sqrt()
    scale = torch.where(units > 0.0, 1.0 / units, 0.0)  # an input that was always 0 has no unit
    correlations = gram * scale[:, None] * scale
    correlations.diagonal().fill_(1.0)
    noise = len(gram) * _EPS
    if least > noise:
        factor = torch.linalg.cholesky(correlations)
        solution = torch.cholesky_solve((pull * scale).T, factor).T
    else:
        values, vectors = torch.linalg.eigh(correlations)
        inverse = torch.where(values > noise, 1.0 / values, 0.0)
        solution = ((pull * scale) @ vectors * inverse) @ vectors.T
    return solution * scale


def by_fisher(stack: Stack) -> Factors:
    """fᵢ = wᵢ F̂ᵢ / Σⱼ wⱼ F̂ⱼ at each entry: who is surer of a weight counts more (Fisher merging).

    F̂ᵢ = Fᵢ / ‖Fᵢ‖^`normalise` + `floor` · μ, where the norm is over the whole model and μ is the
    mean of the first term over the tensor and the experts, in their shares wᵢ. The published code
    adds 10⁻⁶ instead, more than most entries of F are, so that its merge is nearly the mean. Where
    nothing is known, because F is 0 or was not collected, fᵢ = wᵢ.
    """
    shares = normalised(stack.coefficients)
    fisher = [
        vector.statistics.of_weight("fisher", vector.expert, vector.tensor)
        for vector in stack.vectors
    ]
    flat = [values.reshape(-1) for values in fisher if values is not None]
    if len(flat) < len(fisher):
        return constant(shares)
    power = stack.setting("normalise")
    scales = [_fisher_norm(vector) ** -power for vector in stack.vectors]
    means = [_mean_entry(*pair) for pair in zip(stack.vectors, flat, strict=True)]
    mean = sum(w * c * m for w, c, m in zip(shares, scales, means, strict=True))
    if mean == 0.0:
        return constant(shares)
    floor = stack.setting("floor")

    def factors(span: slice) -> list[Factor]:
        weights = [
            (values[span] * (scale / mean)).add_(floor).mul_(share)
            for values, scale, share in zip(flat, scales, shares, strict=True)
        ]
        whole = add(weights)
        return [
            torch.where(whole > 0.0, weight / whole, share)
            for weight, share in zip(weights, shares, strict=True)
        ]

    return factors


def _mean_entry(vector: ExpertVector, values: Tensor) -> float:
    """The mean of a flat tensor of Fisher information, kept between candidates."""
    return vector.cache.numbers(
        (vector.expert, vector.tensor, "mean of fisher"),
        lambda: (total((len(values),), lambda span: values[span]) / len(values),),
    )[0]


def _fisher_norm(vector: ExpertVector) -> float:
    """‖F‖ of an expert's whole model; 1 where it is 0."""

    def compute() -> tuple[float]:
        source = vector.statistics.sources["fisher"][vector.expert]
        return (
            math.sqrt(math.fsum(map(_sum_of_squares, map(source.read, source.infos())))) or 1.0,
        )

    return vector.cache.numbers((vector.expert, "norm of fisher"), compute)[0]


def _sum_of_squares(values: Tensor) -> float:
    flat = values.reshape(-1)
    return total(flat.shape, lambda span: flat[span].double().square_())


def spare_active_inputs(stack: Stack) -> Finish:
    """Δ · (1 − sⱼ (1 − `aim.omega`)), sⱼ = E|xⱼ| / maxₖ E|xₖ| being how active input j is (AIM).

    The activations are those of the base on general text. It damps the columns of a linear map, the
    rows where those are its inputs, and the entries of a norm's weight; embeddings and whatever
    else has no activations are left as they are.
    """
    statistics: Statistics = stack.vectors[0].statistics
    found = statistics.of_inputs("activations", BASE, stack.vectors[0].tensor, stack.shape)
    most = 0.0 if found is None else found.values.max().item()
    if found is None or most == 0.0:
        return lambda span, delta: delta
    kept = 1.0 - found.values * ((1.0 - stack.setting("aim.omega")) / most)
    row, over_rows = stack.row, found.over_rows

    def damp(span: slice, delta: Tensor) -> Tensor:
        place = torch.arange(span.start, span.stop)
        return delta.mul_(kept[place // row if over_rows else place % row])

    return damp
