"""Laws that hold for most methods of the table, on random families of tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from evomerge.merge import pipeline
from evomerge.merge.methods import METHODS, find_method
from tests.merge.single import COMPOSED, families, merge_arrays

ALL = (*METHODS, *COMPOSED)
BY_RATIO = ("ties:mergekit", "della:mergekit", "sce:mergekit", "task_arithmetic+norm_match")
"""Coefficients count by their ratios, but may cancel and still mean something."""

COUNT_EXPERTS = ("sce", "consensus", "consensus_ties", "pcb", "widen", "ram", "ram_plus", "opcm")
"""An expert counts as one whatever its coefficient, or not at all at 0."""

LOSES = ("nearswap", "arcee_fusion", "pcb", "widen")
"""Not even several equal experts are merged whole."""

ADDS_UP = (
    *(
        "task_arithmetic",
        "knots(task_arithmetic)",
        "dare_linear",
        "dare_linear:mergekit",
        "dare_ties:mergekit",
    ),
    *("della_linear", "della_linear:mergekit", "breadcrumbs", "breadcrumbs_ties", "consensus"),
)


def knows_only_ratios(method):
    return find_method(method).only_ratios or method in BY_RATIO


def values_of(method, *, full=False):
    """The defaults, or what takes nothing away, of all parameters but the coefficient."""
    return {
        p.name: p.full if full and p.full is not None else p.default
        for p in find_method(method).parameters
        if p.name != "coefficient"
    }


def experts_of(method, n=3, shape=(6, 5)):
    """A base and experts near it."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=shape).astype(np.float32)
    n = find_method(method).n_experts or n
    return base, [base + 0.1 * rng.normal(size=shape).astype(np.float32) for _ in range(n)]


def bits(tensor):
    return tensor.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("method", ALL)
@settings(max_examples=5)
@given(family=families(most_experts=4))
def test_random_families_obey_zero_coefficients_and_chunks(method, family):
    base, experts, coefficients = family
    n = find_method(method).n_experts
    if n is not None:
        experts, coefficients = (experts * n)[:n], (coefficients * n)[:n]
    values = values_of(method)
    nothing = merge_arrays(method, base, experts, coefficient=0.0, **values)
    assert bits(nothing) == bits(base)
    merged = merge_arrays(method, base, experts, coefficient=coefficients, **values)
    assert merged.isfinite().all()
    assert merged.dtype == base.dtype
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_LARGEST_CHUNK", 5)
        chunked = merge_arrays(method, base, experts, coefficient=coefficients, **values)
    assert bits(chunked) == bits(merged)


@pytest.mark.parametrize("method", ALL)
def test_half_the_coefficients_move_half_as_far_unless_only_ratios_count(method):
    _, experts = experts_of(method)
    base = np.zeros_like(experts[0])
    coefficients = (0.5, 0.25, 1.5)[: len(experts)]
    whole, half = (
        merge_arrays(
            method,
            base,
            experts,
            coefficient=tuple(scale * c for c in coefficients),
            **values_of(method),
        )
        for scale in (1.0, 0.5)
    )
    assert torch.equal(half, whole if knows_only_ratios(method) else whole * 0.5)


@pytest.mark.parametrize("method", [name for name in ALL if name not in LOSES])
def test_equal_experts_merge_to_themselves(method):
    base, experts = experts_of(method)
    expert = experts[0]
    coefficient = 1.0 / len(experts) if method in ADDS_UP else 1.0
    merged = merge_arrays(
        method,
        base,
        [expert] * len(experts),
        coefficient=coefficient,
        **values_of(method, full=True),
    )
    assert torch.allclose(merged, torch.as_tensor(expert), atol=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        name
        for name in ALL
        if name not in (*BY_RATIO, *COUNT_EXPERTS, "model_stock", "model_stock_rows")
        and not name.startswith("ram_plus")
    ],
)
def test_an_expert_fades_out_with_its_coefficient(method):
    base, experts = experts_of(method)
    rest = (0.7,) * (len(experts) - 1)
    without, nearly = (
        merge_arrays(method, base, experts, coefficient=(fading, *rest), **values_of(method))
        for fading in (0.0, 1e-6)
    )
    assert torch.allclose(without, nearly, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "threshold"), [("nearswap", "t"), ("ram", "epsilon"), ("ram_plus", "epsilon")]
)
def test_merges_scale_with_the_weights_if_thresholds_do(method, threshold):
    _, experts = experts_of(method)
    base = np.zeros_like(experts[0])
    scale = np.float32(2.0**-20)
    values = values_of(method) | {"coefficient": 0.7, threshold: 0.5}
    large = merge_arrays(method, base, experts, **values)
    values[threshold] *= float(scale)
    small = merge_arrays(method, base, [scale * expert for expert in experts], **values)
    assert torch.equal(large * scale, small)


@pytest.mark.parametrize("method", ["nearswap", "ram", "ram_plus", "consensus"])
def test_a_threshold_that_takes_nothing_gives_the_plain_sum_of_a_lone_expert(method):
    base, experts = experts_of(method, n=1)
    open_values = {"nearswap": {"t": 100.0}, "consensus": {"k": 0.0}}.get(method, {"epsilon": 0.0})
    values = values_of(method) | {"coefficient": 0.5} | open_values
    merged = merge_arrays(method, base, experts, **values)
    plain = merge_arrays("task_arithmetic", base, experts, coefficient=0.5)
    assert torch.allclose(merged, plain, atol=1e-7)
