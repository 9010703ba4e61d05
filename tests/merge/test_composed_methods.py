"""Methods with stages behind their names, and the names themselves."""

import numpy as np
import pytest
import torch

from evomerge.errors import UsageError
from evomerge.merge.methods import METHODS, find_method
from evomerge.merge.posts import POSTS
from tests.merge.single import merge_arrays, merge_models

RNG = np.random.default_rng(0)


def test_a_composed_method_has_the_parameters_of_its_parts_in_their_order():
    method = find_method("ties:mergekit+lines+norm_match")
    assert method.name == "ties:mergekit+lines+norm_match"
    assert method.definition == "mergekit"
    assert [parameter.name for parameter in method.parameters] == [
        *("coefficient", "density", "lambda"),
        *("lines.start", "lines.slope", "norm_match.strength"),
    ]


@pytest.mark.parametrize("name", POSTS)
def test_the_table_of_stages_is_consistent(name):
    stage = POSTS[name]
    assert stage.name == name
    assert [stage.stage, stage.whole, stage.lenient or None].count(None) == 2
    assert stage.reference.startswith("https://")
    for parameter in stage.parameters:
        assert parameter.name.startswith(f"{name}.")
        assert parameter.limits[0] <= parameter.low <= parameter.default <= parameter.high
        assert parameter.description


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tyes+lines", "method 'tyes' is not known.*did you mean 'ties'"),
        ("ties+linse", r"in method 'ties\+linse' the stage 'linse' is not known.*'lines'"),
        ("ties+lines+lines", "has the stage 'lines' more than once, expected once"),
        ("linear+slack", "'slack' where no sign is elected, expected it right behind"),
        ("ties+lines+slack", "'slack' where no sign is elected, expected it right behind"),
    ],
)
def test_names_that_make_no_method_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        find_method(name)


def test_lines_scales_by_the_layer_and_by_its_start_elsewhere():
    names = ["embed.weight", *(f"layers.{i}.w" for i in range(3)), "norm.weight", "lm_head.weight"]
    base = {name: np.zeros(2) for name in names}
    expert = {name: np.ones(2) for name in names}
    values = {"coefficient": 1.0, "lines.start": 0.25, "lines.slope": 0.5}
    merged = merge_models("task_arithmetic+lines", base, [expert], **values)
    assert [merged[name][0].item() for name in names] == [0.25, 0.25, 0.5, 0.75, 0.25, 0.25]


def test_lines_of_a_single_layer_is_its_start():
    # The reference divides by the number of layers less one.
    values = {"coefficient": 1.0, "lines.start": 0.5, "lines.slope": 7.0}
    merged = merge_arrays("task_arithmetic+lines", [0.0], [[1.0]], name="layers.0.w", **values)
    assert merged.tolist() == [0.5]


def test_a_stage_changes_the_distance_from_the_base_even_where_whole_weights_are_merged():
    base, *experts = RNG.normal(size=(3, 4)).astype(np.float32)
    whole = merge_arrays("slerp", base, experts, coefficient=(0.3, 0.7))
    values = {"coefficient": (0.3, 0.7), "lines.start": 0.5, "lines.slope": 0.0}
    half = merge_arrays("slerp+lines", base, experts, **values)
    assert np.allclose(half, (base + whole.numpy()) / 2, atol=1e-6)


def test_norm_match_gives_the_mean_norm_at_strength_one_and_nothing_at_zero():
    base = np.ones((3, 4))
    experts = [base + RNG.normal(size=(3, 4)) for _ in range(2)]
    mean = np.mean([np.linalg.norm(expert - base) for expert in experts])
    matched, plain = (
        merge_arrays(
            "task_arithmetic+norm_match",
            base,
            experts,
            **{"coefficient": 0.3, "norm_match.strength": strength},
        )
        for strength in (1.0, 0.0)
    )
    assert np.linalg.norm(matched.numpy() - base) == pytest.approx(mean, rel=1e-6)
    assert np.allclose(plain, base + 0.3 * (sum(experts) - 2 * base), atol=1e-6)


def plain_slack(votes, share):
    """Drop an expert only where its sign is not the sum's and |sum| is `share` |vote| or more."""
    whole = votes.sum(0)
    kept = (votes * whole > 0) | (np.abs(whole) < share * np.abs(votes))
    return (votes * kept).sum(0) / np.maximum(kept.sum(0), 1)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_slack_merges_also_what_was_outvoted_narrowly(share):
    votes = RNG.normal(size=(3, 50)).astype(np.float32)
    values = {"coefficient": 1.0, "density": 1.0, "slack.share": share}
    merged = merge_arrays("ties+slack", np.zeros(50), list(votes), **values)
    assert np.allclose(merged, plain_slack(votes, share), atol=1e-6)


def test_without_slack_it_is_ties_bit_for_bit():
    votes = [*RNG.normal(size=(2, 50)), np.zeros(50)]
    values = {"coefficient": (0.5, 1.0, 0.2), "density": 0.6}
    ties = merge_arrays("ties", np.zeros(50), votes, **values)
    slack = merge_arrays("ties+slack", np.zeros(50), votes, **values, **{"slack.share": 0.0})
    assert torch.equal(ties, slack)


def test_every_method_of_the_table_takes_a_stage():
    assert {find_method(f"{name}+lines").name for name in METHODS} == {
        f"{n}+lines" for n in METHODS
    }
