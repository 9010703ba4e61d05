"""Our merges beside mergekit's of the same tiny models, at float32.

mergekit's are stored under `mergekit/`, written by `experiments/parity/run.py`. They may differ by
`WITHIN` units in the last place of a tensor's largest weight, since sums are taken in another
order, and by a thousandth of the experts' changes, which norms come near to, whose weights are a
thousand times larger than their changes. Where a guard or a shortcut of mergekit's decides
(`mergekit.traps`), the tests show both.
"""

import json

import pytest
import torch

from evomerge.merge.methods import find_method
from tests.merge.mergekit.cases import CASES
from tests.merge.mergekit.draws import DRAWN, N_DRAWS, TENSOR, what_is_drawn
from tests.merge.mergekit.exports import EXPORTS, FAMILY
from tests.merge.mergekit.families import FAMILIES
from tests.merge.mergekit.merging import FIXTURES, gaps, merge, merge_recipe, stored, stored_as
from tests.merge.mergekit.traps import TRAPS, is_caught, vectors
from tests.merge.single import merge_arrays

PAIRS = [(name, family) for name, case in CASES.items() for family in case.families]
MANIFEST = json.loads((FIXTURES / "manifest.json").read_text())


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_merges_are_mergekit_s_up_to_rounding(name, family):
    case, models = CASES[name], FAMILIES[family]
    theirs = stored(case, models)
    for tensor, gap in gaps(case.experts, models, merge(case, models), theirs).items():
        if not is_caught(case, models, tensor):
            assert gap.n_beyond == 0, f"{tensor}: {gap}"
            assert gap.of_change < 1e-3, f"{tensor}: {gap}"


@pytest.mark.parametrize("method", EXPORTS)
def test_an_exported_configuration_merges_in_mergekit_to_the_recipe_s_weights(method):
    export = EXPORTS[method]
    ours, theirs = merge_recipe(export.recipe(), FAMILY), stored_as(f"export/{method}", FAMILY)
    for tensor, gap in gaps(export.experts, FAMILY, ours, theirs).items():
        if not (method.startswith("model_stock") and is_caught(CASES[method], FAMILY, tensor)):
            assert gap.n_beyond == 0, f"{tensor}: {gap}"


@pytest.mark.parametrize("name", TRAPS)
def test_every_trap_catches_some_tensors_and_leaves_others(name):
    case = CASES[name]
    caught = [
        is_caught(case, FAMILIES[family], tensor)
        for family in case.families
        for tensor in FAMILIES[family].shapes()
    ]
    assert 0 < sum(caught) < len(caught)


@pytest.mark.parametrize("name", TRAPS)
def test_a_row_that_leaves_mergekit_does_so_where_the_trap_is(name):
    case = CASES[name]
    differing = [
        gap.n_beyond
        for models in map(FAMILIES.get, case.families)
        for tensor, gap in gaps(
            case.experts, models, merge(case, models), stored(case, models)
        ).items()
        if is_caught(case, models, tensor)
    ]
    assert any(differing)


def test_the_stored_merges_are_those_of_the_cases():
    names = {f"{name}/{family}" for name, family in PAIRS}
    assert set(MANIFEST["merges"]) == names
    for name in names:
        config = CASES[name.split("/")[0]].config()
        assert MANIFEST["merges"][name]["config"] == json.loads(json.dumps(config))
    assert MANIFEST["exports"] == {name: export.text() for name, export in EXPORTS.items()}
    assert MANIFEST["versions"]["mergekit"] == "0.1.4"


def test_breadcrumbs_of_mergekit_keeps_nothing_where_it_drops_no_outlier():
    case, models = CASES["breadcrumbs"], FAMILIES["untied"]
    norm = "model.layers.0.input_layernorm.weight"
    theirs, ours, base = stored(case, models)[norm], merge(case, models)[norm], models.base()[norm]
    assert torch.equal(theirs, base)
    n_kept = [int(density * base.numel()) for density in case.each["density"]]
    assert max(n_kept) <= int((ours != base).sum()) <= sum(n_kept)


def test_model_stock_of_mergekit_takes_small_changes_back_to_the_base():
    case, models = CASES["model_stock"], FAMILIES["small"]
    tensor = "model.layers.0.mlp.gate_proj.weight"
    # Without the trap: t = N c / (1 + (N − 1) c), c the mean cosine where it is not negative.
    delta = vectors(case, models, tensor)
    flat = delta.flatten(1)
    gram = flat @ flat.T
    cosines = gram / torch.outer(flat.norm(dim=1), flat.norm(dim=1))
    c = max((float(cosines.sum()) - 3) / 6, 0.0)
    expected = 3 * c / (1 + 2 * c) * delta.mean(0)
    ours, theirs = (
        merged[tensor].double() - models.base()[tensor].double()
        for merged in (merge(case, models), stored(case, models))
    )
    assert torch.allclose(ours, expected, atol=2e-8)
    assert not torch.allclose(theirs, expected, atol=2e-6)


def test_model_stock_of_mergekit_leaves_the_way_to_the_mean_where_changes_are_opposed():
    case, models = CASES["model_stock"], FAMILIES["tied"]
    tensor = "model.layers.0.post_attention_layernorm.weight"
    base, mean = models.base()[tensor], vectors(case, models, tensor).mean(0)
    theirs = stored(case, models)[tensor].double() - base.double()
    assert float((theirs * mean).sum()) < 0.0
    assert torch.equal(merge(case, models)[tensor], base)


def test_sce_of_mergekit_weighs_small_experts_equally():
    case, models = CASES["sce"], FAMILIES["small"]
    tensor = "model.layers.0.mlp.gate_proj.weight"
    delta = vectors(case, models, tensor)
    agree = (delta.sign() == torch.where(delta.sum(0) >= 0, 1.0, -1.0)).double()
    energies = delta.square().flatten(1).mean(1)
    ours, theirs = (
        merged[tensor].double() - models.base()[tensor].double()
        for merged in (merge(case, models), stored(case, models))
    )
    for moved, weights in ((ours, energies / energies.sum()), (theirs, torch.full((3,), 1 / 3))):
        factors = weights.double()[:, None, None] * agree
        whole = factors.sum(0)
        expected = (factors * delta).sum(0) / torch.where(whole == 0.0, 1.0, whole)
        assert torch.allclose(moved, expected, atol=3e-8)


def test_arcee_fusion_of_mergekit_chooses_by_rounding_noise_where_changes_are_small():
    case, models = CASES["arcee_fusion"], FAMILIES["untied"]
    tensor = "model.layers.0.mlp.up_proj.weight"
    base, expert = (models.models()[name][tensor] for name in ("base", "a"))
    p, q = (weights.double().softmax(1) + 1e-8 for weights in (expert, base))
    scores = (expert - base).abs() * (p * (p / q).log()).sum(1, keepdim=True)
    ordered = scores.flatten().sort().values
    low, median, high = (ordered[int(x * (len(ordered) - 1))] for x in (0.25, 0.5, 0.75))
    chosen = (scores >= median + 1.5 * (high - low)) & (expert != base)
    ours, theirs = merge(case, models)[tensor], stored(case, models)[tensor]
    assert torch.equal(ours != base, chosen)
    assert not torch.equal(theirs != base, chosen)


def test_karcher_of_mergekit_leaves_out_an_expert_too_near_the_mean():
    case, models = CASES["karcher"], FAMILIES["untied"]
    tensor = "model.layers.1.post_attention_layernorm.weight"
    stack = torch.stack([models.expert(name)[tensor].double() for name in case.experts])
    ours, theirs = (
        merged[tensor].double() for merged in (merge(case, models), stored(case, models))
    )
    # At angles this small the mean on the sphere is the plain mean, to the angle's square.
    mean = stack.mean(0)
    assert float((ours - mean).norm()) < 0.02 * float((theirs - mean).norm())


@pytest.mark.parametrize("name", DRAWN)
def test_random_masks_keep_and_rescale_as_often_as_mergekit_s_own(name):
    """Within five standard errors of the difference of two counts of 400 draws."""
    base, expert = (FAMILIES["tied"].models()[model][TENSOR] for model in ("base", "a"))
    changed = torch.where(expert == base, base + FAMILIES["tied"].change, expert)
    settings = {key: value for key, value in DRAWN[name].items() if key != "sparsification"}
    ours = what_is_drawn(
        merge_arrays(
            find_method(f"{name}:mergekit").name,
            base,
            [changed],
            seed=seed,
            coefficient=1.0,
            **{"lambda": 1.0},
            **settings,
        )
        - base
        for seed in range(N_DRAWS)
    )
    theirs = MANIFEST["draws"][name]
    n_rows = base.shape[0]
    for p, q in zip(ours["kept"], theirs["kept"], strict=True):
        assert abs(p - q) < 5 * (2 * 0.25 / (N_DRAWS * n_rows)) ** 0.5
    (mean, deviation), (their_mean, their_deviation) = ours["factor"], theirs["factor"]
    assert abs(mean - their_mean) < 5 * (2 / N_DRAWS) ** 0.5 * their_deviation
    assert deviation == pytest.approx(their_deviation, rel=0.3)
