"""Estimators that trust the random choice of items: unbiased over every choice there is."""

from itertools import combinations

import numpy as np
import pytest

from evomerge.errors import ScoringError
from evomerge.irt.design import Difference, Mean, Stratified
from evomerge.irt.estimator import Estimator, OnTask
from evomerge.irt.regression import Ridge

ANSWERS = np.array([[1, 0, 0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]])
RIGHT = ANSWERS.astype(bool)
PREDICTIONS = np.array([0.9, 0.1, 0.4, 0.7, 0.2, 0.5, 0.6, 0.3])


def subsets(n_items: int, n: int) -> list[np.ndarray]:
    masks = []
    for places in combinations(range(n_items), n):
        mask = np.zeros((3, n_items), dtype=bool)
        mask[:, places] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("estimator", [Mean(), Difference(PREDICTIONS)])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_average_over_all_subsets_is_the_score(estimator: Estimator, n: int) -> None:
    means = [estimator.estimates(mask, RIGHT).mean for mask in subsets(8, n)]
    np.testing.assert_allclose(np.mean(means, axis=0), RIGHT.mean(axis=1), atol=1e-12)


def test_the_average_over_all_stratified_subsets_is_the_score() -> None:
    strata = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    masks = [m for m in subsets(8, 3) if m[0, :3].sum() == 1]
    means = [Stratified(strata).estimates(mask, RIGHT).mean for mask in masks]
    np.testing.assert_allclose(np.mean(means, axis=0), RIGHT.mean(axis=1), atol=1e-12)


def test_strata_are_drawn_in_proportion() -> None:
    stratified = Stratified(np.repeat([0, 1], [30, 70]))
    chosen = stratified.choose(10, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 10
    assert np.bincount(stratified.strata[chosen]).tolist() == [3, 7]


def test_every_item_is_as_likely_to_be_drawn_from_strata() -> None:
    stratified, rng = Stratified(np.repeat([0, 1], [5, 15])), np.random.default_rng(1)
    counts = sum(np.bincount(stratified.choose(4, rng), minlength=20) for _ in range(4000))
    np.testing.assert_allclose(counts / 4000, 0.2, atol=0.03)


@pytest.mark.parametrize(
    "estimator", [Mean(), Stratified(np.arange(8) % 2), Difference(PREDICTIONS)]
)
def test_with_every_item_seen_the_score_is_exact(estimator: Estimator) -> None:
    estimates = estimator.estimates(np.ones_like(RIGHT), RIGHT)
    np.testing.assert_allclose(estimates.mean, RIGHT.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(estimates.se, 0.0, atol=1e-12)


@pytest.mark.parametrize("estimator", [Mean(), Stratified(np.arange(8) % 2)])
def test_all_right_and_all_wrong_leave_a_doubt(estimator: Estimator) -> None:
    estimates = estimator.estimates(subsets(8, 4)[0], RIGHT)
    assert estimates.mean[1:].tolist() == [1.0, 0.0]
    assert (estimates.se[1:] > 0.05).all()


def test_perfect_predictions_leave_only_their_own_doubt() -> None:
    sure = Difference(np.where(RIGHT, 1.0, 0.0)).estimates(subsets(8, 3)[5], RIGHT)
    np.testing.assert_allclose(sure.mean, RIGHT.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(sure.se, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "n", "message"),
    [
        (Mean(), 0, "model 0 was scored on 0 items, expected at least 1 for their mean"),
        (Difference(PREDICTIONS), 1, "expected at least 2 for a difference estimate"),
        (Stratified(np.arange(8) % 2), 0, "expected at least 1 for a stratified mean"),
    ],
)
def test_fewer_items_than_needed_are_refused(estimator: Estimator, n: int, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        estimator.estimates(subsets(8, n)[0], RIGHT)


def test_ridge_finds_an_item_that_decides_the_score() -> None:
    rng = np.random.default_rng(3)
    able = rng.random(60) < 0.5
    responses = np.where(able[:, None], rng.random((60, 30)) < 0.9, rng.random((60, 30)) < 0.2)
    responses[:, 0] = able
    seen = np.zeros((2, 30), dtype=bool)
    seen[:, :3] = True
    right = np.zeros((2, 30), dtype=bool)
    right[0, :3] = True
    estimates = Ridge.fit(responses).estimates(seen, right)
    assert estimates.mean == pytest.approx([0.9, 0.2], abs=0.06)
    assert (estimates.se < 0.15).all()


def test_ridge_refuses_responses_that_are_missing() -> None:
    responses = np.ones((9, 4))
    responses[2, 3] = np.nan
    with pytest.raises(ScoringError, match="model 2 has nan in column 3 of the responses, expect"):
        Ridge.fit(responses)


def test_responses_that_are_no_matrix_are_refused() -> None:
    with pytest.raises(ScoringError, match=r"responses have shape \(4,\), expected \(n_models"):
        Ridge.fit(np.ones(4))


ON_TASK = OnTask("arc", tuple(range(0, 80, 10)), Mean())


def test_document_ids_may_come_in_any_order() -> None:
    estimate = ON_TASK.estimate((70, 0, 20), (1.0, 1.0, 0.0))
    assert (estimate.mean, estimate.n) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(
    ("items", "values", "message"),
    [
        ((0, 5), (1.0, 1.0), r"task arc was scored on items \[5\], which its estimator of 8"),
        ((0, 0), (1.0, 1.0), "scored on 2 items, of which only 1 differ"),
        ((0, 10), (1.0, 0.5), r"task arc has values \[0.5, 1.0\] for 2 items, expected 0 or 1"),
        ((), (), "model 0 was scored on 0 items"),
    ],
)
def test_answers_that_cannot_be_are_refused(items, values, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        ON_TASK.estimate(items, values)
