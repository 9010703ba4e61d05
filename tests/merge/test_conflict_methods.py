"""Methods that settle conflicts between experts, against their formulas in float64, and traps."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.merge.single import (
    assert_close,
    column,
    families,
    merge_arrays,
    merge_models,
    task_vectors,
)

FRACTIONS = st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0])


def elected(votes, *, zero_is_plus=False):
    """The mask of those that agree with the sign of the sum."""
    # The sum in float32 and one by one, as in the merge: in float64 other votes would cancel.
    total = votes.float().cumsum(0)[-1]
    sign = torch.where(total >= 0, 1.0, -1.0) if zero_is_plus else total.sign()
    return ((votes * sign) > 0).double()


def ratio(numerator, denominator):
    return numerator / torch.where(denominator == 0, 1.0, denominator)


def selection(vectors, fraction):
    """SCE: the entries of greatest variance, of those with any."""
    if fraction == 1.0:
        return torch.ones_like(vectors[0])
    pairs = [(i, j) for i in range(len(vectors)) for j in range(i)]
    spread = sum(((vectors[i] - vectors[j]) ** 2 for i, j in pairs), torch.zeros_like(vectors[0]))
    spread = spread.sqrt().float()
    k = int(fraction * (spread > 0).sum().item())
    if k == 0:
        return torch.zeros_like(vectors[0])
    return (spread >= spread.flatten().sort(descending=True).values[k - 1]).double()


def energies(vectors):
    means = vectors.square().reshape(len(vectors), -1).mean(1)
    return (means / means.sum()).tolist() if means.sum() else [1.0] * len(means)


def taking_part(family):
    """The experts with a coefficient; one without takes no part, nor in any statistic."""
    base, experts, coefficients = family
    pairs = [(e, c) for e, c in zip(experts, coefficients, strict=True) if c]
    assume(pairs)
    return base, [expert for expert, _ in pairs], tuple(c for _, c in pairs)


@settings(max_examples=40)
@given(families(least=0.1), FRACTIONS)
def test_sce_selects_calculates_and_erases(family, fraction):
    base, experts, coefficients = taking_part(family)
    vectors = task_vectors(base, experts)
    weights = column(energies(vectors * selection(vectors, fraction)), vectors)
    votes = column(coefficients, vectors) * vectors
    mask = elected(votes)
    whole = (column(coefficients, vectors) * weights * mask).sum(0)
    scale = (column(coefficients, vectors) * mask).amax(0)
    expected = base.double() + scale * ratio((votes * weights * mask).sum(0), whole)
    values = {"coefficient": coefficients, "select_topk": fraction}
    assert_close(merge_arrays("sce", base, experts, **values), expected, atol=1e-5)


@settings(max_examples=40)
@given(families(least=0.1), FRACTIONS)
def test_sce_of_mergekit_merges_only_what_it_selects(family, fraction):
    base, experts, _ = family
    vectors = task_vectors(base, experts)
    vectors = vectors * selection(vectors, fraction)
    mask = elected(vectors, zero_is_plus=True)
    weights = column(energies(vectors), vectors) * mask
    expected = base.double() + ratio((vectors * weights).sum(0), weights.sum(0))
    merged = merge_arrays("sce:mergekit", base, experts, coefficient=0.7, select_topk=fraction)
    if len(experts) > 1 or fraction == 1.0:
        assert_close(merged, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["sce", "sce:mergekit"])
def test_sce_weighs_by_energy_however_small_the_changes(method):
    # mergekit takes equal weights where mean squares sum up to less than 1e-6, as in fine-tunes.
    base = np.zeros(4, dtype=np.float32)
    experts = np.array([[3e-4] * 4, [1e-4] * 4], dtype=np.float32)
    merged = merge_arrays(method, base, list(experts), coefficient=1.0, select_topk=1.0)
    assert merged.tolist() == pytest.approx([0.9 * 3e-4 + 0.1 * 1e-4] * 4)


def plain_consensus(vectors, delta, coefficients, tall, k):
    masks = vectors.abs() > tall * (delta / max(coefficients) - vectors).abs()
    return delta * (masks.sum(0) >= min(k, len(vectors)))


@settings(max_examples=40)
@given(families(least=0.1), st.sampled_from([0.2, 0.37, 0.6]), st.integers(0, 4))
def test_consensus_keeps_what_matters_to_k_experts(family, tall, k):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    delta = (column(coefficients, vectors) * vectors).sum(0)
    expected = base.double() + plain_consensus(vectors, delta, coefficients, tall, k)
    values = {"coefficient": coefficients, "tall": tall, "k": k}
    assert_close(merge_arrays("consensus", base, experts, **values), expected, atol=1e-5)


@settings(max_examples=30)
@given(families(least=0.1), st.sampled_from([0.2, 0.37, 0.6]), st.integers(0, 4))
def test_consensus_of_ties_masks_its_merge(family, tall, k):
    base, experts, _ = family
    vectors = task_vectors(base, experts)
    mask = elected(vectors)
    delta = 0.7 * (vectors * mask).sum(0) / mask.sum(0).clamp(min=1)
    expected = base.double() + plain_consensus(vectors, delta, [0.7], tall, k)
    values = {"coefficient": 0.7, "density": 1.0, "tall": tall, "k": k}
    assert_close(merge_arrays("consensus_ties", base, experts, **values), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "plain", "values"),
    [("consensus", "task_arithmetic", {}), ("consensus_ties", "ties", {"density": 0.4})],
)
def test_consensus_of_no_expert_is_the_plain_method(method, plain, values):
    base, *experts = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    values = values | {"coefficient": (0.4, 0.2, 0.9)}
    merged = merge_arrays(method, base, experts, tall=0.4, k=0.0, **values)
    assert torch.equal(merged, merge_arrays(plain, base, experts, **values))


@settings(max_examples=40)
@given(families())
def test_emr_takes_the_largest_change_of_the_elected_sign(family):
    base, experts, coefficients = family
    vectors = task_vectors(base, experts)
    votes = column(coefficients, vectors) * vectors
    sign = votes.float().cumsum(0)[-1].sign()
    expected = base.double() + sign * (votes.abs() * elected(votes)).amax(0)
    assert_close(merge_arrays("emr", base, experts, coefficient=coefficients), expected)


@settings(max_examples=40)
@given(families())
def test_magmax_takes_the_largest_change(family):
    base, experts, coefficients = family
    votes = (column(coefficients, base[None]) * task_vectors(base, experts)).float()
    chosen = votes.gather(0, votes.abs().argmax(0, keepdim=True))[0].double()
    balanced = (votes.amax(0) == -votes.amin(0)) & (len(votes) > 1)
    expected = base.double() + torch.where(balanced, 0.0, chosen)
    assert_close(merge_arrays("magmax", base, experts, coefficient=coefficients), expected)


def test_magmax_leaves_the_base_where_opposite_changes_are_equal():
    for experts in ([[3.0], [-1.0]], [[-1.0], [3.0]]):
        assert merge_arrays("magmax", [1.0], experts, coefficient=1.0).tolist() == [1.0]


def plain_pcb(vectors, density):
    """The authors' PCB_merge on `(N, n)` vectors, without its NaN where all scores are equal."""
    n, size = vectors.shape
    order = vectors.abs().sort(1).values
    low = order[:, int(size * 0.0001)][:, None]
    high = torch.maximum(low, order[:, int(size * (1 - 0.0001) - 1)][:, None])
    clamped = vectors.abs().clamp(low, high)
    span = high - low
    magnitude = torch.where(span > 0, (clamped - low) / span.clamp(min=1e-300), 0.0)
    scores = ((n * magnitude**2).exp() * (vectors * vectors.sum(0)).tanh()).float().double()
    ascending = scores.sort(1).values
    least = ascending[:, min(int(size * (1 - density)), size - 1)][:, None]
    span = ascending[:, -1:] - least
    share = torch.where(span > 0, (scores.clamp(min=least) - least) / span.clamp(min=1e-300), 1.0)
    return clamped * vectors.sign(), share


@settings(max_examples=40)
@given(families(least=0.1), FRACTIONS)
def test_pcb_averages_by_the_scores_of_the_competition(family, density):
    base, experts, _ = family
    vectors = task_vectors(base, experts)
    clamped, share = plain_pcb(vectors.reshape(len(vectors), -1), density)
    moved = 1.2 * ratio((clamped * share).sum(0), share.sum(0))
    expected = base.double() + moved.reshape(base.shape)
    merged = merge_arrays("pcb", base, experts, coefficient=1.2, density=density)
    assert_close(merged, expected, atol=2e-4)


def test_pcb_of_equal_changes_is_their_mean():
    # The authors' min-max divides zero by zero there.
    merged = merge_arrays(
        "pcb", np.zeros(5), [np.full(5, 2.0), np.full(5, 4.0)], coefficient=1.0, density=0.5
    )
    assert merged.tolist() == [3.0] * 5


def calibrated(significance, ratio_, calibration):
    scores = significance.softmax(0)
    means = significance.reshape(len(significance), -1).mean(1)
    return torch.where(
        significance > ratio_ * column(means.tolist(), significance), calibration, scores
    )


def plain_widen(base, experts, ratio_, calibration):
    """Σ of the scored task vectors; columns are what the last dimension but one runs over."""
    vectors = task_vectors(base, experts)
    if base.dim() < 2:
        return (calibrated(vectors.abs(), ratio_, calibration) * vectors).sum(0)
    first, others = base.double(), torch.stack(experts).double()
    lengths = (others.norm(dim=-2) - first.norm(dim=-2)).abs()
    turns = 1 - (others * first).sum(-2) / (others.norm(dim=-2) * first.norm(dim=-2))
    scores = []
    for change in (lengths, turns):
        flat = change.reshape(len(experts), -1)
        ranks = flat.argsort(dim=1, stable=True).argsort(dim=1).double() / flat.shape[1]
        scores.append(calibrated(ranks, ratio_, calibration).reshape(change.shape))
    return ((scores[0] + scores[1]).unsqueeze(-2) / 2 * vectors).sum(0)


@settings(max_examples=40)
@given(families(), st.sampled_from([0.5, 1.0, 1.7]), st.sampled_from([0.3, 1.0, 1.2]))
def test_widen_scores_columns_by_length_and_direction(family, ratio_, calibration):
    base, experts, _ = family
    base, *experts = (x.float() for x in (base, *experts))
    expected = base.double() + plain_widen(base, experts, ratio_, calibration)
    values = {"coefficient": 1.0, "ratio": ratio_, "calibration": calibration}
    is_degenerate = base.dim() > 1 and base.shape[-2] == 1  # all directions are ±1: ranks are noise
    if not is_degenerate:
        assert_close(merge_arrays("widen", base, experts, **values), expected, atol=1e-5)


def test_widen_scores_embeddings_by_token():
    base, *experts = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    values = {"coefficient": 1.0, "ratio": 1.0, "calibration": 0.7}
    linear = merge_arrays("widen", base.T, [x.T for x in experts], name="layers.0.w", **values)
    tokens = merge_arrays("widen", base, experts, name="model.embed_tokens.weight", **values)
    assert torch.allclose(tokens, linear.T, atol=1e-6)


def test_widen_of_unused_columns_is_finite():
    # The reference divides by the length of a column; padded tokens have none.
    base = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    base[:, 1] = 0.0
    experts = [base + 0.1 * (base != 0), base.clone()]
    values = {"coefficient": 1.0, "ratio": 1.0, "calibration": 1.0}
    merged = merge_arrays("widen", base, experts, **values)
    assert merged.isfinite().all()
    assert torch.equal(merged[:, 1], base[:, 1])


def plain_ram(vectors, epsilon, amplification):
    changed = vectors.abs() > epsilon
    count = changed.sum(0)
    alone = vectors * (changed & (count == 1)) * column(amplification, vectors)
    return (alone + vectors * (changed & (count > 1)) / count.clamp(min=1)).sum(0)


@settings(max_examples=40)
@given(families(), st.floats(0.0, 2.0))
def test_ram_averages_shared_changes_and_keeps_unique_ones(family, epsilon):
    base, experts, _ = family
    expected = base.double() + plain_ram(task_vectors(base, experts), epsilon, [1.0] * len(experts))
    merged = merge_arrays("ram", base, experts, coefficient=1.0, epsilon=epsilon)
    assert_close(merged, expected, atol=1e-5)


def amplification(models, epsilon, r, alpha):
    """1 + r · min(shared / unique, alpha) of each expert over all tensors given."""
    shared, unique = 0, 0
    for vectors in models:
        changed = (vectors.abs() > epsilon).reshape(len(vectors), -1)
        count = changed.sum(0)
        shared += (changed & (count > 1)).sum(1).double()
        unique += (changed & (count == 1)).sum(1).double()
    return (1 + r * (shared / unique).nan_to_num(0.0, posinf=alpha).clamp(max=alpha)).tolist()


@settings(max_examples=30)
@given(families(), st.floats(0.5, 2.0))
def test_ram_plus_of_mergekit_amplifies_by_the_counts_of_the_tensor(family, epsilon):
    base, experts, _ = family
    vectors = task_vectors(base, experts)
    factors = amplification([vectors], epsilon, 0.3, 1.5)
    expected = base.double() + plain_ram(vectors, epsilon, factors)
    values = {"coefficient": 1.0, "epsilon": epsilon, "r": 0.3, "alpha": 1.5}
    assert_close(merge_arrays("ram_plus:mergekit", base, experts, **values), expected, atol=1e-5)


def test_ram_plus_amplifies_by_the_counts_of_the_whole_model():
    generator = torch.Generator().manual_seed(0)
    shapes = {"layers.0.a": (4, 3), "layers.1.a": (5,)}
    base, *experts = (
        {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for _ in range(4)
    )
    vectors = {name: task_vectors(x, [e[name] for e in experts]) for name, x in base.items()}
    factors = amplification(vectors.values(), 1.0, 0.3, 1.5)
    values = {"coefficient": 1.0, "epsilon": 1.0, "r": 0.3, "alpha": 1.5}
    merged = merge_models("ram_plus", base, experts, **values)
    for name, x in base.items():
        expected = x.double() + plain_ram(vectors[name], 1.0, factors)
        assert_close(merged[name], expected, atol=1e-5)
