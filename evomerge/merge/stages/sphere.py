"""Weigh: factors from the angles between the vectors, of a whole tensor or of each row.

Every method here moves by a weighted sum Σ fᵢ vᵢ whose factors depend on nothing but the Gram
matrix ⟨vᵢ, vⱼ⟩, so none of them needs to hold the vectors. A rule computes them in float64:

    rule(gram (N, N, R), coefficients (N,)) → factors (N, R)

for R rows at once, or one tensor. Vectors of length 0 have no direction: they do not turn the
result, and count as 0 in a mean of lengths.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import Factors, Stack, Weigh
from evomerge.merge.stages.weigh import constant
from evomerge.merge.sums import row_sums, total

Rule = Callable[[Tensor, Tensor], Tensor]

_NO_ANGLE = 1e-8
"""The sine of an angle below which the great circle through two vectors is rounding noise."""


def of_tensor(rule: Rule) -> Weigh:
    """The rule for the tensor as one vector."""

    def weigh(stack: Stack) -> Factors:
        factors = rule(_gram(stack), torch.tensor(stack.coefficients, dtype=torch.float64))
        return constant(factors[:, 0].tolist())

    return weigh


def of_rows(rule: Rule) -> Weigh:
    """The rule for each row apart, which is what the last dimension runs over."""

    def weigh(stack: Stack) -> Factors:
        coefficients = torch.tensor(stack.coefficients, dtype=torch.float64)
        factors = rule(_row_gram(stack), coefficients).float()  # (N, R)

        def at(span: slice) -> list[Tensor]:
            rows = torch.arange(span.start, span.stop).div_(stack.row, rounding_mode="floor")
            return list(factors[:, rows])

        return at

    return weigh


def shrink_to_base(gram: Tensor, coefficients: Tensor) -> Tensor:
    """Model Stock: the weighted mean, shrunk by t = N c / (1 + (N − 1) c).

    c is the mean cosine between two vectors, counted as 0 where it is negative, so that t is in
    [0, 1]: 1 where they are equal, 0 where they are orthogonal. The largest coefficient is a scale
    on top. A single expert is not shrunk.
    """
    n = len(coefficients)
    t = torch.ones(gram.shape[2], dtype=torch.float64)
    if n > 1:
        cosines = _cosines(gram)
        off_diagonal = cosines.sum((0, 1)) - cosines.diagonal().sum(1)
        mean = (off_diagonal / (n * (n - 1))).clamp(0.0, 1.0)
        t = n * mean / (1 + (n - 1) * mean)
    scale = coefficients.abs().max() / coefficients.abs().sum()
    return scale * coefficients[:, None] * t


def to_mean_length(gram: Tensor, coefficients: Tensor) -> Tensor:
    """λᵢ · (mean ‖vⱼ‖ / ‖Σ vⱼ‖): the sum at the mean length; 0 where it is 0 (OPCM)."""
    length = gram.sum((0, 1)).clamp(min=0.0).sqrt()
    mean = gram.diagonal().clamp(min=0.0).sqrt().mean(1)
    return coefficients[:, None] * torch.where(length > 0.0, mean / length, 0.0)


def great_circle(gram: Tensor, coefficients: Tensor, *, flat_above: float = 2.0) -> Tensor:
    """Slerp: the point at t = λ₂ / (λ₁ + λ₂) of the way from v₁ to v₂ along the arc between them.

    f₁ = sin((1 − t) θ) / sin θ, f₂ = sin(t θ) / sin θ; 1 − t and t where the vectors are parallel,
    opposite, or 0, and where |cos θ| exceeds `flat_above`. A single vector stays as it is.
    """
    if len(coefficients) == 1:
        return torch.ones(1, gram.shape[2], dtype=torch.float64)
    t = coefficients[1] / coefficients.sum()
    cosine = _cosines(gram)[0, 1]
    # 2 atan2(|u − v|, |u + v|): acos is ill-conditioned near 1, where fine-tunes are.
    angle = 2 * torch.atan2((2 - 2 * cosine).sqrt(), (2 + 2 * cosine).sqrt())
    sine = angle.sin()
    lengths = gram.diagonal().amin(1)  # (R,)
    is_flat = (sine < _NO_ANGLE) | (lengths == 0.0) | (cosine.abs() > flat_above)
    safe = torch.where(is_flat, 1.0, sine)
    first = torch.where(is_flat, 1 - t, ((1 - t) * angle).sin() / safe)
    return torch.stack((first, torch.where(is_flat, t, (t * angle).sin() / safe)))


def mean_direction(gram: Tensor, coefficients: Tensor) -> Tensor:
    """Multi-SLERP: the weighted mean of the directions, at the weighted mean of the lengths.

    The published construction projects the directions onto the tangent space at their mean,
    averages there and maps back; the tangents average to zero, so that what it gives is the mean's
    own direction. Directions that cancel exactly leave the weighted mean of the vectors.
    """
    weights = (coefficients / coefficients.sum())[:, None].expand(gram.shape[0], gram.shape[2])
    return _at_mean_length(gram, weights, _unit(_cosines(gram), weights))


def karcher_mean(
    gram: Tensor, coefficients: Tensor, *, n_steps: int = 100, tolerance: float = 1e-12
) -> Tensor:
    """Karcher: the point whose weighted squared angles to the directions are least.

    Found by steps along the mean tangent, u ← exp_u(Σ wᵢ log_u(uᵢ)), from the weighted mean
    direction, at most `n_steps`, until one would turn by less than `tolerance`, in radians; at the
    weighted mean of the lengths. Directions that cancel exactly leave the weighted mean of the
    vectors.
    """
    weights = (coefficients / coefficients.sum())[:, None].expand(gram.shape[0], gram.shape[2])
    cosines = _cosines(gram)
    has_direction = cosines.diagonal().T  # (N, R)
    pull = weights * has_direction
    whole = pull.sum(0)
    pull = pull / torch.where(whole == 0.0, 1.0, whole)
    point = _unit(cosines, pull)
    for _ in range(n_steps):
        cosine = _times(cosines, point).clamp_(-1.0, 1.0)
        sine = (1 - cosine.square()).sqrt()
        stretch = torch.where(sine < _NO_ANGLE, 1.0, torch.atan2(sine, cosine) / sine)
        step = pull * stretch
        step = step - (step * cosine).sum(0) * point
        length = (step * _times(cosines, step)).sum(0).clamp_min_(0.0).sqrt()
        if bool((length.nan_to_num() < tolerance).all()):
            break
        point = _unit(cosines, length.cos() * point + torch.sinc(length / math.pi) * step)
    return _at_mean_length(gram, weights, point)


def _at_mean_length(gram: Tensor, weights: Tensor, point: Tensor) -> Tensor:
    """Factors of the vectors for a point Σ pᵢ vᵢ / |vᵢ|, NaN where it has no direction."""
    lengths = gram.diagonal().T.sqrt()  # (N, R)
    factors = point * (weights * lengths).sum(0) / torch.where(lengths == 0.0, 1.0, lengths)
    return torch.where(factors.isnan(), weights, factors)


def _unit(cosines: Tensor, point: Tensor) -> Tensor:
    """The point Σ pᵢ uᵢ at length 1, NaN where it is rounding noise beside its terms."""
    square = (point * _times(cosines, point)).sum(0)
    is_zero = square <= 1e-14 * point.square().sum(0)
    return point / torch.where(is_zero, math.nan, square).sqrt()


def _times(cosines: Tensor, point: Tensor) -> Tensor:
    """⟨uᵢ, Σⱼ pⱼ uⱼ⟩ for each i, `(N, R)`."""
    return (cosines * point).sum(1)


def _cosines(gram: Tensor) -> Tensor:
    """The cosine of each two vectors, 0 where one has no direction: `(N, N, R)`."""
    lengths = gram.diagonal().T.sqrt()
    products = lengths[:, None] * lengths
    cosines = (gram / torch.where(products == 0.0, 1.0, products)).clamp(-1.0, 1.0)
    return torch.where(products == 0.0, 0.0, cosines)


def _gram(stack: Stack) -> Tensor:
    """⟨vᵢ, vⱼ⟩ of the whole tensor, `(N, N, 1)` float64."""
    n = len(stack.vectors)
    pairs = [(i, j) for i in range(n) for j in range(i + 1)]
    products = stack.numbers(
        "gram", lambda: tuple(total(stack.shape, _products(stack, *pair)) for pair in pairs)
    )
    return _symmetric(torch.tensor(products, dtype=torch.float64)[:, None], n)


def _row_gram(stack: Stack) -> Tensor:
    """⟨vᵢ, vⱼ⟩ of each row, `(N, N, R)` float64."""
    n = len(stack.vectors)
    pairs = [(i, j) for i in range(n) for j in range(i + 1)]
    return _symmetric(torch.stack([row_sums(stack.shape, _products(stack, *p)) for p in pairs]), n)


def _products(stack: Stack, i: int, j: int) -> Callable[[slice], Tensor]:
    return lambda span: stack.vectors[i].chunk(span).double() * stack.vectors[j].chunk(span)


def _symmetric(lower: Tensor, n: int) -> Tensor:
    """The symmetric matrices of the rows of their lower triangles: `(N, N, R)`."""
    position = torch.zeros(n, n, dtype=torch.int64)
    rows, columns = torch.tril_indices(n, n)
    position[rows, columns] = position[columns, rows] = torch.arange(len(lower))
    return lower[position]
