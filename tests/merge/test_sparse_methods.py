"""Methods that drop entries, each against its formula in float64, and the traps they are known for.

Traps are cases where reference implementations fail; mergekit's are of its version 0.1.4.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.merge.single import (
    assert_close,
    column,
    families,
    merge_arrays,
    task_vectors,
    uniform_draws,
)

DENSITIES = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.77, 1.0])
THINNING = (
    ("dare_linear", {}),
    ("dare_ties", {}),
    ("della", {"epsilon": 0.6}),
    ("della_linear", {"epsilon": 0.6}),
)
WITH_DENSITY = (
    *THINNING,
    ("ties", {}),
    ("breadcrumbs", {"gamma": 0.1}),
    ("breadcrumbs_ties", {"gamma": 0.1}),
    ("localize_stitch", {}),
    ("ties:mergekit", {"lambda": 1.0}),
    ("dare_linear:mergekit", {"lambda": 1.0}),
    ("dare_ties:mergekit", {"lambda": 1.0}),
    ("della:mergekit", {"lambda": 1.0, "epsilon": 0.15}),
    ("della_linear:mergekit", {"lambda": 1.0, "epsilon": 0.15}),
)


def elected(votes, *, zero_is_plus=False):
    """The mask of those that agree with the sign of the sum."""
    # The sum in float32 and one by one, as in the merge: in float64 other votes would cancel.
    total = votes.float().cumsum(0)[-1]
    sign = torch.where(total >= 0, 1.0, -1.0) if zero_is_plus else total.sign()
    return ((votes * sign) > 0).double()


def mean_of(moves, coefficients, mask):
    """max |λ| · Σ λ v / Σ |λ| over those that take part."""
    sizes = column(coefficients, moves).abs() * mask
    whole = sizes.sum(0)
    return sizes.amax(0) * (moves * mask).sum(0) / torch.where(whole == 0, 1.0, whole)


def l1_matched(kept, vectors):
    dims = tuple(range(1, vectors.dim()))
    before, after = (x.abs().sum(dims, keepdim=True) if dims else x.abs() for x in (vectors, kept))
    return kept * torch.where(after == 0, 0.0, before / after)


@settings(max_examples=30)
@given(families(), DENSITIES)
def test_dare_linear_divides_what_it_keeps_by_the_density(family, density):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    kept = vectors * (uniform_draws(base, len(experts)) < density) / max(density, 1e-9)
    expected = base.double() + (column(coefficients, vectors) * kept).sum(0)
    merged = merge_arrays("dare_linear", base, experts, coefficient=coefficients, density=density)
    assert_close(merged, expected, atol=1e-5)


@settings(max_examples=30)
@given(families(), DENSITIES)
def test_dare_linear_of_mergekit_keeps_the_sum_of_magnitudes(family, density):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    kept = l1_matched(vectors * (uniform_draws(base, len(experts)) < density), vectors)
    expected = base.double() + 0.7 * (column(coefficients, vectors) * kept).sum(0)
    values = {"coefficient": coefficients, "density": density, "lambda": 0.7}
    assert_close(merge_arrays("dare_linear:mergekit", base, experts, **values), expected, atol=1e-4)


@settings(max_examples=30)
@given(families(), DENSITIES, st.sampled_from(["dare_ties", "dare_ties:mergekit"]))
def test_dare_ties_averages_and_mergekit_adds_up_what_agrees(family, density, method):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    kept = vectors * (uniform_draws(base, len(experts)) < density)
    if method == "dare_ties":
        moves = column(coefficients, vectors) * kept / max(density, 1e-9)
        values, moved = {}, mean_of(moves, coefficients, elected(moves))
    else:
        moves = column(coefficients, vectors) * l1_matched(kept, vectors)
        mask = elected(moves, zero_is_plus=True)
        values, moved = {"lambda": 0.7}, 0.7 * (moves * mask).sum(0)
    values |= {"coefficient": coefficients, "density": density}
    assert_close(merge_arrays(method, base, experts, **values), base.double() + moved, atol=1e-4)


def keep_probabilities(vectors, density, epsilon):
    """DELLA: from density − ε to density + ε by the rank of the magnitude in its row."""
    rows = vectors.reshape(len(vectors), -1, vectors.shape[-1] if vectors.dim() > 1 else 1)
    ranks = rows.abs().argsort(dim=-1, stable=True).argsort(dim=-1).double()
    width = rows.shape[-1]
    place = ranks / (width - 1) if width > 1 else torch.full_like(ranks, 0.5)
    return (density - epsilon + 2 * epsilon * place).reshape(vectors.shape)


@settings(max_examples=40)
@given(families(), DENSITIES, st.floats(0.0, 0.9), st.sampled_from(["della", "della_linear"]))
def test_della_divides_what_it_keeps_by_its_own_probability(family, density, epsilon, method):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    p = keep_probabilities(vectors, density, epsilon * min(density, 1 - density))
    kept = vectors * (uniform_draws(base, len(experts)) < p) / p.clamp(min=1e-9)
    moves = column(coefficients, vectors) * kept
    moved = (
        moves.sum(0) if method == "della_linear" else mean_of(moves, coefficients, elected(moves))
    )
    values = {"coefficient": coefficients, "density": density, "epsilon": epsilon}
    merged = merge_arrays(method, base, experts, **values)
    assert_close(merged, base.double() + moved, atol=1e-4)


@settings(max_examples=30)
@given(families(least=0.1), DENSITIES)
def test_della_of_mergekit_keeps_the_sum_of_magnitudes(family, density):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    p = keep_probabilities(vectors, density, min(0.15, density, 1 - density))
    kept = l1_matched(vectors * (uniform_draws(base, len(experts)) < p), vectors)
    moves = column(coefficients, vectors) * kept
    mask = elected(moves, zero_is_plus=True)
    whole = (column(coefficients, vectors) * mask).sum(0)
    expected = base.double() + (moves * mask).sum(0) / torch.where(whole == 0, 1.0, whole)
    values = {"coefficient": coefficients, "density": density, "epsilon": 0.15, "lambda": 1.0}
    assert_close(merge_arrays("della:mergekit", base, experts, **values), expected, atol=1e-4)


def band(vectors, density, gamma):
    """Breadcrumbs, with all equals of the smallest and of the largest that stay."""
    n = vectors[0].numel()
    kept = torch.zeros_like(vectors)
    for i, vector in enumerate(vectors):
        n_kept = int(density * n)
        n_top = min(int(gamma * n), n - n_kept)
        inside = vector.abs().flatten().sort(descending=True).values[n_top : n_top + n_kept]
        if len(inside):
            stays = (vector.abs() >= inside[-1]) & (vector.abs() <= inside[0])
            kept[i] = vector * stays
    return kept


@settings(max_examples=40)
@given(
    families(),
    DENSITIES,
    st.sampled_from([0.0, 0.01, 0.2, 0.6, 1.0]),
    st.sampled_from(["breadcrumbs", "breadcrumbs_ties"]),
)
def test_breadcrumbs_drops_the_largest_and_the_smallest(family, density, gamma, method):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    moves = column(coefficients, vectors) * band(vectors, density, gamma)
    mask = elected(moves) if method == "breadcrumbs_ties" else 1.0
    values = {"coefficient": coefficients, "density": density, "gamma": gamma}
    merged = merge_arrays(method, base, experts, **values)
    assert_close(merged, base.double() + (moves * mask).sum(0), atol=1e-5)


@settings(max_examples=30)
@given(families(least=0.1), DENSITIES)
def test_ties_of_mergekit_divides_by_the_agreeing_weights(family, density):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    n_kept = int(density * base.numel())
    moves = column(coefficients, vectors) * band(vectors, n_kept / base.numel() + 1e-9, 0.0)
    mask = elected(moves, zero_is_plus=True)
    whole = (column(coefficients, vectors) * mask).sum(0)
    expected = base.double() + 1.3 * (moves * mask).sum(0) / torch.where(whole == 0, 1.0, whole)
    values = {"coefficient": coefficients, "density": density, "lambda": 1.3}
    assert_close(merge_arrays("ties:mergekit", base, experts, **values), expected, atol=1e-5)


def test_ties_of_mergekit_knows_only_ratios_of_weights_and_the_paper_s_does_not():
    experts = [[2.0, 1.0], [4.0, -3.0]]
    values = {"density": 1.0, "lambda": 1.0}
    half, whole = (
        merge_arrays("ties:mergekit", np.zeros(2), experts, coefficient=c, **values)
        for c in (0.5, 1.0)
    )
    assert half.tolist() == whole.tolist() == [3.0, -3.0]
    paper = merge_arrays("ties", np.zeros(2), experts, coefficient=0.5, density=1.0)
    assert paper.tolist() == [1.5, -1.5]


def test_where_changes_cancel_exactly_the_positive_ones_win_in_mergekit():
    values = {"coefficient": 1.0, "density": 1.0}
    merged = merge_arrays("ties:mergekit", [1.0], [[1.5], [0.5]], **values, **{"lambda": 1.0})
    assert merged.tolist() == [1.5]


@settings(max_examples=30)
@given(families(), DENSITIES)
def test_localize_and_stitch_averages_where_masks_overlap(family, density):
    base, experts, _ = family
    vectors = task_vectors(base, experts)
    k = int(density * base.numel() + 0.5)
    order = vectors.abs().reshape(len(vectors), -1).sort(descending=True).values
    least = order[:, k - 1] if k else torch.full((len(vectors),), torch.inf)
    mask = (vectors.abs() >= column(least.tolist(), vectors)) & (vectors != 0)
    expected = base.double() + (vectors * mask).sum(0) / mask.sum(0).clamp(min=1)
    merged = merge_arrays("localize_stitch", base, experts, coefficient=1.0, density=density)
    assert_close(merged, expected)


@settings(max_examples=30)
@given(families(), st.floats(0.0, 2.0))
def test_nearswap_follows_an_expert_up_to_t(family, t):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    share = (t / vectors.abs().clamp(min=1e-30)).clamp(max=1.0)
    expected = base.double() + (column(coefficients, vectors) * share * vectors).sum(0)
    merged = merge_arrays("nearswap", base, experts, coefficient=coefficients, t=t)
    assert_close(merged, expected, atol=1e-5)


def plain_importance(base, expert):
    p, q = (x.double().softmax(-1) + 1e-8 for x in (expert, base))
    divergence = (p * (p / q).log()).sum(-1, keepdim=True).clamp(min=0)
    return (task_vectors(base, [expert])[0].abs() * divergence).float()


@settings(max_examples=30)
@given(families(min_dims=1), st.floats(-0.5, 3.0))
def test_arcee_fusion_keeps_what_is_important_beyond_the_quartiles(family, iqr):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    kept = []
    for expert, vector in zip(experts, vectors, strict=True):
        importance = plain_importance(base, expert)
        order = importance.flatten().sort().values.tolist()
        low, median, high = (order[int(q * (len(order) - 1))] for q in (0.25, 0.5, 0.75))
        kept.append(vector * (importance.double() >= median + iqr * (high - low)))
    expected = base.double() + (column(coefficients, vectors) * torch.stack(kept)).sum(0)
    merged = merge_arrays("arcee_fusion", base, experts, coefficient=coefficients, iqr=iqr)
    assert_close(merged, expected, atol=1e-5)


@pytest.mark.parametrize(("method", "values"), WITH_DENSITY)
def test_density_zero_gives_the_base_and_density_one_everything(method, values):
    base, expert = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    values = values | ({"gamma": 0.0} if "gamma" in values else {})
    none, all_of_it = (
        merge_arrays(method, base, [expert], coefficient=1.0, density=density, **values)
        for density in (0.0, 1.0)
    )
    assert torch.equal(none, torch.as_tensor(base))
    assert torch.equal(all_of_it, torch.as_tensor(expert))


@pytest.mark.parametrize(("method", "values"), WITH_DENSITY)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 1, 2)])
def test_a_density_below_one_entry_of_a_tiny_tensor_is_no_error(method, values, shape):
    # mergekit: "not gonna zero out the whole tensor buddy"; NaN in rows of a single entry (DELLA).
    merged = merge_arrays(
        method, np.zeros(shape), [np.ones(shape)], coefficient=1.0, density=0.1, **values
    )
    assert merged.isfinite().all()


@pytest.mark.parametrize(("method", "values"), WITH_DENSITY)
def test_an_unchanged_tensor_stays_the_base(method, values):
    base = np.arange(6.0).reshape(2, 3)
    merged = merge_arrays(method, base, [base, base], coefficient=1.0, density=0.5, **values)
    assert torch.equal(merged, torch.as_tensor(base))


@pytest.mark.parametrize("gamma", [0.0, 0.01])
def test_breadcrumbs_that_drop_no_outlier_keep_the_others(gamma):
    # mergekit slices by -0 where ⌊gamma · n⌋ is 0, and so merges nothing.
    expert = np.arange(1.0, 65.0)
    merged = merge_arrays(
        "breadcrumbs", np.zeros(64), [expert], coefficient=1.0, density=0.5, gamma=gamma
    )
    assert merged.tolist() == [0.0] * 32 + expert[32:].tolist()


@pytest.mark.parametrize(("method", "values"), THINNING)
def test_thinned_vectors_are_unbiased(method, values):
    expert = torch.rand(20, 25, generator=torch.Generator().manual_seed(0))
    draws = torch.stack(
        [
            merge_arrays(
                method,
                torch.zeros(20, 25),
                [expert],
                coefficient=1.0,
                density=0.4,
                seed=seed,
                **values,
            )
            for seed in range(200)
        ]
    )
    p = keep_probabilities(expert[None], 0.4, 0.4 * values.get("epsilon", 0.0))[0]
    error = (draws.mean(0) - expert) / (expert * ((1 / p - 1) / 200).sqrt())
    assert abs(error.mean()) < 4 / 500**0.5
    assert 0.85 < error.std() < 1.15


@pytest.mark.parametrize(
    ("method", "values"), [row for row in WITH_DENSITY if "d" in row[0][:1] or row[0] == "ties"]
)
def test_what_is_kept_at_a_density_is_kept_at_every_higher_one(method, values):
    expert = np.random.default_rng(1).normal(size=(40, 25)).astype(np.float32)
    kept = [
        merge_arrays(
            method, np.zeros_like(expert), [expert], coefficient=1.0, density=density, **values
        )
        != 0
        for density in (0.0, 0.1, 0.4, 0.6, 0.9, 1.0)
    ]
    for fewer, more in itertools.pairwise(kept):
        assert torch.all(more | ~fewer)
    assert kept[2].double().mean().item() == pytest.approx(0.4, abs=0.05)


def test_della_keeps_large_changes_more_often():
    expert = torch.rand(400, 50, generator=torch.Generator().manual_seed(0))
    values = {"coefficient": 1.0, "density": 0.5, "epsilon": 0.8}
    kept = merge_arrays("della_linear", torch.zeros(400, 50), [expert], **values) != 0
    by_rank = kept.gather(1, expert.argsort(dim=1)).double().mean(0)
    assert by_rank[:10].mean().item() == pytest.approx(0.18, abs=0.03)
    assert by_rank[-10:].mean().item() == pytest.approx(0.82, abs=0.03)


def test_della_takes_an_epsilon_that_reaches_beyond_certainty():
    # mergekit raises unless density ± epsilon is strictly between 0 and 1.
    values = {"coefficient": 1.0, "density": 0.9, "epsilon": 0.5, "lambda": 1.0}
    merged = merge_arrays("della_linear:mergekit", np.zeros((3, 4)), [np.ones((3, 4))], **values)
    assert merged.isfinite().all()


def test_dare_of_mergekit_rescales_tiny_vectors_too():
    # mergekit leaves vectors whose magnitudes sum up to less than 1e-7 without rescaling.
    expert = np.full(100, 1e-12, dtype=np.float32)
    values = {"coefficient": 1.0, "density": 0.5, "lambda": 1.0}
    merged = merge_arrays("dare_linear:mergekit", np.zeros(100, np.float32), [expert], **values)
    assert merged.sum().item() == pytest.approx(1e-10, rel=1e-5)


def test_arcee_fusion_gives_the_same_every_time_however_large_the_tensor():
    # mergekit samples the quartiles of more than a million entries, without a seed.
    base = torch.rand(1001, 1001, generator=torch.Generator().manual_seed(0))
    expert = base + 0.01 * torch.rand(1001, 1001, generator=torch.Generator().manual_seed(1))
    one, other = (
        merge_arrays("arcee_fusion", base, [expert], coefficient=1.0, iqr=1.5) for _ in range(2)
    )
    assert torch.equal(one, other)
    importance = plain_importance(base, expert).flatten()
    order = importance.sort().values.tolist()
    low, median, high = (order[int(q * (len(order) - 1))] for q in (0.25, 0.5, 0.75))
    n_important = (importance.double() >= median + 1.5 * (high - low)).sum()
    assert (one != base).sum() == pytest.approx(n_important.item(), rel=1e-4)


def test_arcee_fusion_tells_rows_apart_by_divergences_below_float32():
    # In float32 a divergence of 1e-12 is lost in rounding of the terms that it is the sum of.
    base = torch.linspace(-1, 1, 64).repeat(2, 1)
    expert = base.clone()
    expert[0] += 1e-3  # the same for all: the softmax stays
    expert[1, ::2] += 1e-3
    merged = merge_arrays("arcee_fusion", base, [expert], coefficient=1.0, iqr=0.5)
    assert torch.equal(merged[0], base[0])
    assert (merged[1] != base[1]).sum() == 32


@pytest.mark.parametrize("method", ["della", "della_linear"])
@pytest.mark.parametrize("shape", [(6, 1), (1,), ()])
def test_della_of_rows_of_one_entry_keeps_at_the_density(method, shape):
    base, expert = torch.zeros(shape), torch.ones(shape)
    values = {"coefficient": 1.0, "density": 0.5, "epsilon": 0.5}
    merged = [merge_arrays(method, base, [expert], seed=seed, **values) for seed in range(40)]
    assert set(torch.stack(merged).flatten().tolist()) == {0.0, 2.0}


def test_ties_at_a_threshold_of_zero_averages_only_what_changed():
    base = torch.zeros(8)
    sparse = torch.tensor([4.0, 0, 0, 0, 0, 0, 0, 0])
    full = torch.full((8,), 2.0)
    merged = merge_arrays("ties", base, [sparse, full], coefficient=1.0, density=(0.5, 1.0))
    assert torch.equal(merged, torch.tensor([3.0, 2, 2, 2, 2, 2, 2, 2]))


def test_signed_coefficients_that_nearly_cancel_do_not_blow_up_ties():
    base, plus, minus = torch.zeros(4), torch.ones(4), -torch.ones(4)
    values = {"coefficient": (1.0, -1.0 + 1e-6), "density": 1.0}
    merged = merge_arrays("ties", base, [plus, minus], **values)
    assert torch.allclose(merged, torch.ones(4), atol=1e-5)
