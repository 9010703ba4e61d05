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


def keep_all(vector: ExpertVector, settings: Settings) -> Kept:
    """Nothing is dropped."""
    return vector.chunk


def keep_largest(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep the entries of largest magnitude of the tensor, about `density` of them.

    The threshold is the k-th largest magnitude, k = density · n rounded; entries equal to it are
    all kept, as in the reference of TIES (https://github.com/prateeky2806/ties-merging), so that
    the choice among equals depends on no order. k = 0 keeps nothing.
    """
    return _at_least_rank(vector, _rounded(settings["density"] * vector.n))


def keep_largest_rounded_down(vector: ExpertVector, settings: Settings) -> Kept:
    """As `keep_largest` with k = ⌊density · n⌋, mergekit's; it refuses to merge where k is 0."""
    return _at_least_rank(vector, int(settings["density"] * vector.n))


def keep_band(vector: ExpertVector, settings: Settings) -> Kept:
    """Drop the `gamma` · n largest entries, then keep the `density` · n largest of the others.

    Fewer outliers are dropped where fewer would be left than are to be kept. Entries equal to the
    smallest or largest that is kept are all kept. mergekit slices by minus the number of outliers,
    and so keeps nothing at all where that is 0.
    """
    n = vector.n
    n_kept = int(settings["density"] * n)
    n_outliers = min(int(settings["gamma"] * n), n - n_kept)
    keep = _at_least_rank(vector, n_kept + n_outliers if n_kept else 0)
    if n_outliers == 0 or n_kept == 0:
        return keep
    most = vector.magnitude_of_rank(n_outliers + 1)

    def kept(span: slice) -> Tensor:
        values = keep(span)
        return torch.where(values.abs() <= most, values, 0.0)

    return kept


def drop_at_random(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep each entry with probability `density` p and divide it by p (DARE).

    E[v̂] = v. The mask comes from `random_bits`: the same for every candidate, and a subset of the
    mask of any higher density.
    """
    n_kept_values = round(settings["density"] * N_VALUES)
    if n_kept_values >= N_VALUES:
        return vector.chunk
    rescale = N_VALUES / n_kept_values if n_kept_values else 0.0

    def kept(span: slice) -> Tensor:
        mask = (n_kept_values - vector.random_bits(span)).clamp_(0.0, 1.0)  # 1 where bits < n
        return vector.chunk(span) * mask.mul_(rescale)

    return kept


def drop_by_rank(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep entries with a probability that grows with the rank in the row, divide by it (DELLA).

    With `density` p and rank rⱼ of entry j from 0 (smallest magnitude of the row) to 1 (largest):
    pⱼ = p + (2 rⱼ − 1) ε min(p, 1 − p), so that `epsilon` ε from 0 to 1 is a share of what is
    possible and masks are nested in the density. E[v̂] = v where pⱼ > 0. The rank of a row's only
    entry is 1/2. See `ExpertVector.ranks_in_row` for rows.
    """
    density = settings["density"]
    slope = 2.0 * settings["epsilon"] * min(density, 1.0 - density)
    return _drop_by_rank(vector, density, slope, lambda n_kept: N_VALUES / n_kept)


def drop_by_rank_within_epsilon(vector: ExpertVector, settings: Settings) -> Kept:
    """As `drop_by_rank` without dividing, pⱼ = p + (2 rⱼ − 1) ε, as in mergekit.

    mergekit refuses an `epsilon` above min(p, 1 − p); here it counts as that.
    """
    density = settings["density"]
    slope = 2.0 * min(settings["epsilon"], density, 1.0 - density)
    return _drop_by_rank(vector, density, slope, torch.ones_like)


def drop_without_rescaling(vector: ExpertVector, settings: Settings) -> Kept:
    """Keep each entry with probability `density`, as it is."""
    return _drop_by_rank(vector, settings["density"], 0.0, torch.ones_like)


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


def _at_least_rank(vector: ExpertVector, k: int) -> Kept:
    """What is not smaller than the k-th largest magnitude."""
    threshold = np.float32(vector.magnitude_of_rank(min(k, vector.n)) if k else np.inf)
    if k >= vector.n or threshold == 0.0:
        return vector.chunk
    # hardshrink keeps what is strictly larger.
    below = float(np.nextafter(threshold, np.float32(0.0)))
    return lambda span: hardshrink(vector.chunk(span), below)


def _drop_by_rank(
    vector: ExpertVector, density: float, slope: float, rescale: Callable[[Tensor], Tensor]
) -> Kept:
    """Keep with probability density + slope (r − 1/2), and multiply by a function of it."""
    if density >= 1.0:
        return vector.chunk
    step = slope / (vector.row - 1) if vector.row > 1 else 0.0
    lowest = density - step * (vector.row - 1) / 2

    def kept(span: slice) -> Tensor:
        probability = vector.ranks_in_row(span) * step + lowest if step else lowest
        n_kept = (torch.as_tensor(probability) * N_VALUES).round_().expand(span.stop - span.start)
        mask = (n_kept - vector.random_bits(span)).clamp_(0.0, 1.0)
        return vector.chunk(span) * mask.mul_(rescale(n_kept.clamp_min(1.0)))

    return kept


def _rounded(number: float) -> int:
    return int(number + 0.5)
