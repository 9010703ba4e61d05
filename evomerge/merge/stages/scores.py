"""Stages that score entries or columns by how much an expert changed them beside the rest.

Exponentials, logarithms and hyperbolic tangents are taken in float64: in float32 torch rounds the
last few entries of a chunk otherwise than the rest, and a merge must not depend on its chunks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evomerge.merge.groups import place
from evomerge.merge.stages.kinds import Factors, Kept, Settings, Stack, add
from evomerge.merge.sums import column_sums, row_sums, total
from evomerge.merge.vectors import ExpertVector

_BLOCK = 1 << 14
_FLOOR = 1e-8
"""What is added to each probability before it is divided by, as in mergekit."""

_OUTLIERS = 1e-4
"""The fraction of magnitudes that is clamped at either end before they compete (PCB)."""


def without_outliers(vector: ExpertVector, settings: Settings) -> Kept:
    """Sparsify: clamp the smallest and the largest 0.01 % of magnitudes to the others (PCB)."""
    least, most = _inner_magnitudes(vector)

    def kept(span: slice) -> Tensor:
        values = vector.chunk(span)
        return values.abs().clamp_(least, most) * values.sign()

    return kept


def by_competition(stack: Stack) -> Factors:
    """Weigh: fᵢ = λᵢ sᵢ, sᵢ the score of an entry in the competition of expert i's (PCB).

    score = exp(N x²) · tanh(vᵢ Σⱼ vⱼ), x the magnitude between the least and the greatest of its
    expert's as a number from 0 to 1. Of an expert's scores the largest `density` · n are mapped to
    [0, 1]; the rest gets 0. Where all are equal they are 1.
    """
    return _scored(stack, [_competition(stack, i) for i in range(len(stack.vectors))])


def _scored(stack: Stack, scores: Sequence[Kept]) -> Factors:
    bounds = [_bounds(stack, score) for score in scores]

    def at(span: slice) -> list[Tensor]:
        return [
            _between(score(span).clamp_(low, high), low, high, where_equal=1.0) * coefficient
            for score, (low, high), coefficient in zip(
                scores, bounds, stack.coefficients, strict=True
            )
        ]

    return at


def _bounds(stack: Stack, score: Kept) -> tuple[float, float]:
    """The threshold of the scores that stay, and the largest."""
    # As in the reference: the entry at n (1 − density), rounded down, counted from the smallest.
    position = int(stack.n * (1.0 - stack.setting("density")))
    low, high = stack.vectors[0].ranked(score, [stack.n - min(position, stack.n - 1), 1])
    return low, high


def _competition(stack: Stack, i: int) -> Kept:
    vector = stack.vectors[i]
    least, most = _inner_magnitudes(vector)

    def score(span: slice) -> Tensor:
        chunks = [chunk.double() for chunk in stack.chunks(span)]
        magnitude = _between(chunks[i].abs().clamp_(least, most), least, most, where_equal=0.0)
        alone = magnitude.square_().mul_(len(chunks)).exp_()
        return alone.mul_((chunks[i] * add(chunks)).tanh_()).float()

    return score


def _inner_magnitudes(vector: ExpertVector) -> tuple[float, float]:
    """The least and the greatest magnitude between the outliers, by the reference's ranks."""
    from_smallest = int(vector.n * _OUTLIERS), int(vector.n * (1.0 - _OUTLIERS) - 1.0)
    low, high = (vector.magnitude_of_rank(vector.n - position) for position in from_smallest)
    return low, max(low, high)


def _between(values: Tensor, low: float, high: float, *, where_equal: float) -> Tensor:
    """Values of [low, high] as numbers from 0 to 1."""
    if high == low:
        return torch.full_like(values, where_equal)
    return values.sub_(low).div_(high - low)


def by_significance(stack: Stack) -> Factors:
    """Weigh: fᵢ = λᵢ (sᵢ + dᵢ) / 2, scores of magnitude and direction of each column (WIDEN).

    A column j of expert i changes its length by |‖Wᵢⱼ‖ − ‖W₀ⱼ‖| and turns by 1 − cos(Wᵢⱼ, W₀ⱼ).
    Columns are ranked from 0 to 1 within the expert by either; a score is the softmax of the ranks
    over the experts, or `calibration` where the rank exceeds `ratio` times the expert's mean rank.
    A column is what one input multiplies: a row in embeddings, which are stored by token. In a
    tensor of one dimension entries are scored by their magnitudes in place of ranks.
    """
    if len(stack.shape) < 2:
        return _entry_scores(stack)
    by_row = place(stack.vectors[0].tensor) == "embeddings"
    changes = [_changes(vector, by_row=by_row) for vector in stack.vectors]
    lengths, directions = (torch.stack(kind) for kind in zip(*changes, strict=True))
    scores = (_rank_scores(stack, lengths) + _rank_scores(stack, directions)) / 2
    factors = torch.tensor(stack.coefficients)[:, None] * scores.float()
    n_rows = stack.shape[-2]

    def at(span: slice) -> list[Tensor]:
        entries = torch.arange(span.start, span.stop)
        rows = entries.div(stack.row, rounding_mode="floor")
        matrices = rows.div(n_rows, rounding_mode="floor")
        columns = rows if by_row else matrices * stack.row + entries % stack.row
        return list(factors[:, columns])

    return at


def _entry_scores(stack: Stack) -> Factors:
    means = torch.tensor([_mean_magnitude(v) for v in stack.vectors], dtype=torch.float64)

    def at(span: slice) -> list[Tensor]:
        magnitudes = torch.stack(stack.chunks(span)).double().abs_()
        scores = _calibrated(stack, magnitudes, means).float()
        return [score * x for score, x in zip(scores, stack.coefficients, strict=True)]

    return at


def _mean_magnitude(vector: ExpertVector) -> float:
    return total(vector.shape, lambda span: vector.chunk(span).abs()) / vector.n


def _changes(vector: ExpertVector, *, by_row: bool) -> tuple[Tensor, Tensor]:
    """By how much each column's length and its direction change, flat."""

    def sums(values: Callable[[slice], Tensor]) -> Tensor:
        return (row_sums if by_row else column_sums)(vector.shape, values).view(-1)

    squares = sums(lambda span: vector.weights(span).double().square_())
    base_squares = sums(lambda span: vector.base_weights(span).double().square_())
    products = sums(lambda span: vector.weights(span).double() * vector.base_weights(span))
    lengths = (squares * base_squares).sqrt()
    turned = 1.0 - products / torch.where(lengths == 0.0, 1.0, lengths)
    stays_zero = (squares == 0.0) & (base_squares == 0.0)
    return (squares.sqrt() - base_squares.sqrt()).abs(), torch.where(stays_zero, 0.0, turned)


def _rank_scores(stack: Stack, changes: Tensor) -> Tensor:
    """The scores of ranks from 0 to 1 within each expert: `(N, n_columns)` float64."""
    order = changes.argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], dtype=torch.float64) / order.shape[1]
    ranks = torch.empty_like(changes).scatter_(1, order, places.expand_as(changes))
    return _calibrated(stack, ranks, ranks.mean(1))


def _calibrated(stack: Stack, significance: Tensor, means: Tensor) -> Tensor:
    scores = significance.softmax(0)
    is_high = significance > stack.setting("ratio") * means[:, None]
    return torch.where(is_high, stack.setting("calibration"), scores)


def keep_important(vector: ExpertVector, settings: Settings) -> Kept:
    """Sparsify: keep what is important beyond median + `iqr` · interquartile range (Arcee Fusion).

    The importance of an entry is its magnitude times the Kullback-Leibler divergence of its row's
    softmax from the base's. Quartiles are exact; mergekit samples those of more than 10⁶ entries at
    random. In float32, as there, the divergence of a fine-tune would be rounding noise.
    """
    divergences = _divergences(vector)  # (n_rows,)

    def importance(span: slice) -> Tensor:
        rows = torch.arange(span.start, span.stop).div_(vector.row, rounding_mode="floor")
        return (vector.chunk(span).double().abs_() * divergences[rows]).float()

    quartiles = [vector.n - int(fraction * (vector.n - 1)) for fraction in (0.25, 0.5, 0.75)]
    low, median, high = vector.ranked(importance, quartiles)
    threshold = median + settings["iqr"] * (high - low)

    def kept(span: slice) -> Tensor:
        is_important = importance(span).double() >= threshold  # float32 would round the threshold
        return torch.where(is_important, vector.chunk(span), 0.0)

    return kept


def _divergences(vector: ExpertVector) -> Tensor:
    """KL(softmax(θ) ‖ softmax(θ_base)) of each row, `(n_rows,)` float64."""
    step = max(1, _BLOCK // vector.row) * vector.row

    def divergence(start: int) -> Tensor:
        span = slice(start, min(start + step, vector.n))
        p, q = (
            weights(span).double().view(-1, vector.row).softmax(1).add_(_FLOOR)
            for weights in (vector.weights, vector.base_weights)
        )
        return p.div(q).log_().mul_(p).sum(1).clamp_min_(0.0)

    return torch.cat([divergence(start) for start in range(0, vector.n, step)])
