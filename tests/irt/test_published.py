"""The field's estimators: laws that their formulas obey."""

import numpy as np
import pytest

from evomerge.errors import ScoringError
from evomerge.irt.fitting import fit_traits
from evomerge.irt.published import Anchors, Generalised, MpIrt, PIrt
from evomerge.irt.traits import Traits


@pytest.fixture(scope="module")
def simulated() -> tuple[Traits, np.ndarray]:
    rng = np.random.default_rng(2)
    ability, slopes = rng.normal(size=(80, 1)), rng.uniform(0.8, 2.0, 40)
    chance = 1 / (1 + np.exp(-slopes * (ability - rng.normal(size=40))))
    responses = rng.random((80, 40)) < chance
    return fit_traits(responses[:60], 1), responses


def mask(n_models: int, n: int) -> np.ndarray:
    seen = np.zeros((n_models, 40), dtype=bool)
    seen[:, :n] = True
    return seen


def test_with_every_item_seen_scores_are_exact(simulated) -> None:
    traits, responses = simulated
    seen = mask(80, 40)
    for estimator in (PIrt(traits), MpIrt.fit(traits, responses[:3])):
        found = estimator.estimates(seen, responses).mean
        np.testing.assert_allclose(found, responses.mean(axis=1), atol=1e-12)


def test_two_endpoints_span_every_ability_of_one_dimension(simulated) -> None:
    """A free mixture of two different abilities can be any number: mp-IRT is p-IRT then."""
    traits, responses = simulated
    mp_irt = MpIrt.fit(traits, responses[:2])
    seen = mask(20, 30)
    found = mp_irt.estimates(seen, responses[60:]).mean
    expected = PIrt(traits).estimates(seen, responses[60:]).mean
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_one_endpoint_alone_gives_a_multiple_of_its_ability(simulated) -> None:
    traits, responses = simulated
    mp_irt = MpIrt.fit(traits, responses[:1])
    assert mp_irt.endpoints.shape == (1, 1)
    assert np.isfinite(mp_irt.estimates(mask(20, 10), responses[60:]).mean).all()


def test_all_right_and_all_wrong_stay_shares(simulated) -> None:
    traits, responses = simulated
    right = np.array([[True] * 40, [False] * 40])
    for estimator in (PIrt(traits), MpIrt.fit(traits, responses[:4], responses[:60])):
        found = estimator.estimates(mask(2, 10), right).mean
        assert 0.0 <= found[1] < 0.3 < 0.7 < found[0] <= 1.0


def test_anchors_weigh_all_items() -> None:
    rng = np.random.default_rng(0)
    anchors = Anchors.fit(rng.random((50, 6)), 7, rng)
    assert anchors.weights.sum() == pytest.approx(1.0)
    assert len(anchors.items) == len(anchors.weights) == 7


def test_anchors_of_repeated_items_give_the_exact_score() -> None:
    """Items that are copies of four: any anchor of each, with its share, is the whole task."""
    rng = np.random.default_rng(1)
    originals = rng.random((30, 4)) < 0.5
    copies = np.repeat(np.arange(4), [3, 5, 7, 9])
    anchors = Anchors.fit(originals[:, copies].T, 4, rng)
    right = originals[:, copies]
    found = anchors.estimates(np.ones_like(right), right).mean
    np.testing.assert_allclose(found, right.mean(axis=1), atol=1e-12)


def test_the_generalised_estimate_lies_between_its_two_parts(simulated) -> None:
    traits, responses = simulated
    model = PIrt(traits)
    anchors = Anchors.fit(responses[:60].T, 10, np.random.default_rng(0))
    seen = np.zeros((20, 40), dtype=bool)
    seen[:, anchors.items] = True
    parts = np.array([e.estimates(seen, responses[60:]).mean for e in (anchors, model)])
    for mixed in (
        Generalised(anchors, model),
        Generalised.gp_irt(anchors, model, responses[:60]),
    ):
        found = mixed.estimates(seen, responses[60:]).mean
        assert (found >= parts.min(axis=0) - 1e-12).all()
        assert (found <= parts.max(axis=0) + 1e-12).all()


def test_nothing_seen_is_refused(simulated) -> None:
    traits, responses = simulated
    anchors = Anchors.fit(responses.T, 5, np.random.default_rng(0))
    for estimator in (PIrt(traits), anchors, Generalised(None, PIrt(traits))):
        with pytest.raises(ScoringError, match=r"scored on 0 items, expected at least 1"):
            estimator.estimates(mask(2, 0), responses[:2])
