"""Sparsify: which entries of one expert's vector stay, and how they are rescaled."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from evomerge.merge.random_bits import N_VALUES
from evomerge.merge.stages.kinds import Kept, Settings, Sparsify
from evomerge.merge.sums import total
from evomerge.merge.vectors import ExpertVector

Ranks = tuple[int, int]
"""The first and the last rank by magnitude that is kept, the largest entry being of rank 1."""


def keep_all(vector: ExpertVector, settings: Settings) -> Kept:
    """Nothing is dropped."""
    return vector.chunk


def keep_largest(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep the entries of largest magnitude of the tensor, about `density` of them.

    The threshold is the k-th largest magnitude, k = density · n rounded; entries equal to it are
    all kept, as in the reference of TIES (https://github.com/prateeky2806/ties-merging), so that
    the choice among equals depends on no order. k = 0 keeps nothing.
    """
    return _between_ranks(vector, ranks_of_largest(vector.n, settings))


def keep_largest_rounded_down(vector: ExpertVector, settings: Settings) -> Kept:
    """As `keep_largest` with k = ⌊density · n⌋, mergekit's; it refuses to merge where k is 0."""
    return _between_ranks(vector, ranks_of_largest_rounded_down(vector.n, settings))


def keep_band(vector: ExpertVector, settings: Settings) -> Kept:
    """Drop the `gamma` · n largest entries, then keep the `density` · n largest of the others.

    Fewer outliers are dropped where fewer would be left than are to be kept. Entries equal to the
    smallest or largest that is kept are all kept. mergekit slices by minus the number of outliers,
    and so keeps nothing at all where that is 0.
    """
    return _between_ranks(vector, ranks_of_band(vector.n, settings))


def ranks_of_largest(n: int, settings: Settings) -> Ranks:
    """The ranks that `keep_largest` keeps of `n` entries."""
    return 1, _rounded(settings["density"] * n)


def ranks_of_largest_rounded_down(n: int, settings: Settings) -> Ranks:
    """The ranks that `keep_largest_rounded_down` keeps of `n` entries."""
    return 1, int(settings["density"] * n)


def ranks_of_band(n: int, settings: Settings) -> Ranks:
    """The ranks that `keep_band` keeps of `n` entries."""
    n_kept = int(settings["density"] * n)
    n_outliers = min(int(settings["gamma"] * n), n - n_kept)
    return (1 + n_outliers, n_kept + n_outliers) if n_kept else (1, 0)


def band(
    n: int, ranks: Ranks, magnitude_of_rank: Callable[[int], float]
) -> tuple[float, float] | None:
    """The magnitude up to which entries are dropped and the largest that is kept; None keeps all.

    Args:
        n: the number of entries.
        ranks: the first and the last that are kept, the largest entry being of rank 1.
        magnitude_of_rank: gives the magnitude of a rank.
    """
    first, last = ranks
    threshold = np.float32(magnitude_of_rank(min(last, n)) if last else np.inf)
    keeps_small = last >= n or threshold == 0.0
    most = magnitude_of_rank(first) if first > 1 else np.inf
    if keeps_small and first == 1:
        return None
    # What is at the threshold is kept.
    below = -1.0 if keeps_small else float(np.nextafter(threshold, np.float32(0.0)))
    return below, most


def drop_at_random(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep each entry with probability `density` p and divide it by p (DARE).

    E[v̂] = v. The mask comes from `random_bits`: the same for every candidate, and a subset of the
    mask of any higher density.
    """
    n_kept_values, rescale = odds(settings)
    if n_kept_values >= N_VALUES:
        return vector.chunk

    def kept(span: slice) -> Tensor:
        mask = (n_kept_values - vector.random_bits(span)).clamp_(0.0, 1.0)  # 1 where bits < n
        return vector.chunk(span) * mask.mul_(rescale)

    return kept


def odds(settings: Settings) -> tuple[int, float]:
    """How many of the N_VALUES random values keep an entry, and what it is then multiplied by."""
    n_kept_values = round(settings["density"] * N_VALUES)
    return n_kept_values, N_VALUES / n_kept_values if n_kept_values else 0.0


def drop_by_rank(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep entries with a probability that grows with the rank in the row, divide by it (DELLA).

    With `density` p and rank rⱼ of entry j from 0 (smallest magnitude of the row) to 1 (largest):
    pⱼ = p + (2 rⱼ − 1) ε min(p, 1 − p), so that `epsilon` ε from 0 to 1 is a share of what is
    possible and masks are nested in the density. E[v̂] = v where pⱼ > 0. The rank of a row's only
    entry is 1/2. See `ExpertVector.ranks_in_row` for rows.
    """
    line = odds_by_rank(vector.row, settings)
    return _drop_by_rank(vector, settings["density"], line, lambda n_kept: N_VALUES / n_kept)


def odds_by_rank(row: int, settings: Settings) -> tuple[float, float]:
    """The probability that `drop_by_rank` keeps a row's smallest entry, and its growth per rank."""
    density = settings["density"]
    return _line(row, density, 2.0 * settings["epsilon"] * min(density, 1.0 - density))


def drop_by_rank_within_epsilon(vector: ExpertVector, settings: Settings) -> Kept:
    """As `drop_by_rank` without dividing, pⱼ = p + (2 rⱼ − 1) ε, as in mergekit.

    mergekit refuses an `epsilon` above min(p, 1 − p); here it counts as that.
    """
    density = settings["density"]
    line = _line(vector.row, density, 2.0 * min(settings["epsilon"], density, 1.0 - density))
    return _drop_by_rank(vector, density, line, torch.ones_like)


def drop_without_rescaling(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep each entry with probability `density`, as it is."""
    density = settings["density"]
    return _drop_by_rank(vector, density, (density, 0.0), torch.ones_like)


def matching_l1(sparsify: Sparsify) -> Sparsify:
    """What `sparsify` keeps, scaled to the sum of magnitudes of the whole vector, as in mergekit.

    Nothing kept stays nothing. mergekit does not rescale where a sum is below 10⁻⁷.
    """

    def rescaled(vector: ExpertVector, settings: Settings) -> Kept:
        kept = sparsify(vector, settings)
        if kept == vector.chunk:
            return kept
        before = total(vector.shape, lambda span: vector.chunk(span).abs())
        after = total(vector.shape, lambda span: kept(span).abs())
        factor = before / after if after else 0.0
        return lambda span: kept(span) * factor

    return rescaled


def clamp(vector: ExpertVector, settings: Settings) -> Kept:
    """Clamp the entries to ±`t`: an expert is followed where it is near, and `t` far elsewhere."""
    t = settings["t"]
    return lambda span: vector.chunk(span).clamp(-t, t)


def _between_ranks(vector: ExpertVector, ranks: Ranks) -> Kept:
    limits = band(vector.n, ranks, vector.magnitude_of_rank)
    if limits is None:
        return vector.chunk
    below, most = limits

    def kept(span: slice) -> Tensor:
        values = hardshrink(vector.chunk(span), below) if below >= 0.0 else vector.chunk(span)
        return values if most == np.inf else torch.where(values.abs() <= most, values, 0.0)

    return kept


def _line(row: int, density: float, slope: float) -> tuple[float, float]:
    """density + slope (r − 1/2) as the value at the first rank of a row and what each adds."""
    step = slope / (row - 1) if row > 1 else 0.0
    return density - step * (row - 1) / 2, step


def _drop_by_rank(
    vector: ExpertVector,
    density: float,
    line: tuple[float, float],
    rescale: Callable[[Tensor], Tensor],
) -> Kept:
    """Keep with a probability that is linear in the rank, and multiply by a function of it."""
    if density >= 1.0:
        return vector.chunk
    lowest, step = line

    def kept(span: slice) -> Tensor:
        probability = vector.ranks_in_row(span) * step + lowest if step else lowest
        n_kept = (torch.as_tensor(probability) * N_VALUES).round_().expand(span.stop - span.start)
        mask = (n_kept - vector.random_bits(span)).clamp_(0.0, 1.0)
        return vector.chunk(span) * mask.mul_(rescale(n_kept.clamp_min(1.0)))

    return kept


def _rounded(number: float) -> int:
    return int(number + 0.5)
