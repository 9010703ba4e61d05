"""Which answers would tell most: the closed form against the whole posterior on nodes."""

import numpy as np
import pytest

from evomerge.irt.local import gains, mode
from evomerge.irt.traits import Traits, normal_nodes


def traits_of(n_items: int, n_traits: int, seed: int, *, guessing: bool) -> Traits:
    rng = np.random.default_rng(seed)
    nodes = normal_nodes(3000, n_traits)
    return Traits(
        rng.uniform(0.2, 0.9, (n_items, n_traits)),
        rng.normal(size=n_items),
        nodes,
        np.full(len(nodes), -np.log(len(nodes))),
        rng.uniform(0.1, 0.3, n_items) if guessing else None,
    )


def drop(traits: Traits, seen: np.ndarray, right: np.ndarray, item: int) -> float:
    """By how much asking an item lowers the variance, with the answers' own probabilities."""
    before = traits.estimates(seen, right).se[0] ** 2
    asked = seen.copy()
    asked[0, item] = True
    after = 0.0
    share = traits.predictions(seen, right)[0, item]
    for answer, probability in ((True, share), (False, 1.0 - share)):
        told = right.copy()
        told[0, item] = answer
        after += probability * traits.estimates(asked, told).se[0] ** 2
    return float(before - after)


@pytest.mark.parametrize("guessing", [False, True])
def test_gains_are_the_expected_drop_of_the_variance(guessing: bool) -> None:
    traits = traits_of(40, 2, seed=0, guessing=guessing)
    rng = np.random.default_rng(1)
    right = rng.random((1, 40)) < traits.right[5]
    seen = np.arange(40)[None] < 15
    found = gains(traits, seen, right)[0]
    exact = np.array([drop(traits, seen, right, item) for item in range(15, 40)])
    assert found[:15].tolist() == [0.0] * 15
    np.testing.assert_allclose(found[15:], exact, rtol=0.2)
    assert np.corrcoef(found[15:], exact)[0, 1] > 0.98


@pytest.mark.parametrize("guessing", [False, True])
def test_the_mode_is_near_the_posterior_mean_when_much_was_seen(guessing: bool) -> None:
    traits = traits_of(400, 2, seed=2, guessing=guessing)
    rng = np.random.default_rng(3)
    right = rng.random((20, 400)) < traits.right[rng.integers(3000, size=20)]
    seen = np.ones_like(right)
    found, variances = mode(traits, seen, right)
    weights = traits.posterior(seen, right)
    means = weights @ traits.nodes
    spread = np.sqrt(variances.diagonal(axis1=1, axis2=2))
    assert (np.abs(found - means) < 0.7 * spread).mean() > 0.9


@pytest.mark.parametrize("value", [True, False])
def test_all_right_and_all_wrong_have_finite_gains(value: bool) -> None:
    traits = traits_of(50, 3, seed=4, guessing=False)
    right = np.full((2, 50), value)
    found = gains(traits, np.arange(50)[None] < np.array([[0], [30]]), right)
    assert np.isfinite(found).all()
    assert (found[0] > 0).all()
