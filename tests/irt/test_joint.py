"""Items chosen together do not tell the same thing twice."""

import numpy as np
import pytest

from evomerge.irt.joint import joint_batch
from evomerge.irt.local import gains
from evomerge.irt.traits import Traits, best_items, normal_nodes


def traits_of(slopes: np.ndarray, intercepts: np.ndarray) -> Traits:
    nodes = normal_nodes(512, slopes.shape[1])
    return Traits(slopes, intercepts, nodes, np.full(512, -np.log(512)))


@pytest.fixture(scope="module")
def traits() -> Traits:
    rng = np.random.default_rng(0)
    return traits_of(rng.uniform(0.3, 1.8, (40, 2)), rng.normal(size=40))


def test_one_item_is_the_one_with_the_largest_gain(traits: Traits) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        seen, right = rng.random((2, 40)) < 0.3
        alone = gains(traits, seen[None], right[None])
        expected = best_items(alone, seen[None], 1)[0]
        assert joint_batch(traits, seen, right, 1).tolist() == expected.tolist()


def test_items_come_from_both_skills_where_the_gains_alone_would_take_one() -> None:
    """Half of the score is about each skill, and the items of one tell a little more."""
    slopes = np.zeros((30, 2))
    slopes[:15, 0], slopes[15:, 1] = 2.0, 1.9
    traits = traits_of(slopes, np.zeros(30))
    nothing = np.zeros(30, dtype=bool)
    alone = best_items(gains(traits, nothing[None], nothing[None]), nothing[None], 6)[0]
    together = joint_batch(traits, nothing, nothing, 6)
    assert (alone < 15).sum() == 6
    assert (together < 15).sum() == 3


def test_a_batch_tells_more_than_the_items_that_are_best_alone(traits: Traits) -> None:
    """By the variance of the score that is left on average, over drawn answers."""
    rng = np.random.default_rng(2)
    seen = np.arange(40) < 6
    left = {"together": 0.0, "alone": 0.0}
    for _ in range(60):
        node = rng.integers(len(traits.nodes))
        right = rng.random(40) < traits.right[node]
        alone = gains(traits, seen[None], right[None])
        batches = {
            "together": joint_batch(traits, seen, right, 10),
            "alone": best_items(alone, seen[None], 10)[0],
        }
        for name, batch in batches.items():
            asked = seen.copy()
            asked[batch] = True
            left[name] += float(traits.estimates(asked[None], right[None]).se[0] ** 2)
    assert left["together"] < left["alone"]


def test_items_are_new_and_barred_ones_come_last(traits: Traits) -> None:
    seen = np.arange(40) < 30
    batch = joint_batch(traits, seen, seen, 8, first=(31,), barred=(30, 33, 5))
    assert len(set(batch.tolist())) == 8
    assert set(batch[:7].tolist()) == {32, 34, 35, 36, 37, 38, 39}
    assert batch[7] in (30, 33)
