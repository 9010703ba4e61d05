"""Whether the probabilities that a selection goes by come true as often as they say."""

import numpy as np
import pytest

from evomerge.irt.compare import front_probabilities, p_dominates, p_greater, paired_difference
from evomerge.irt.design import Mean
from evomerge.records import Estimate, TaskScores

N_ITEMS, N_SEEN, N_TASKS = 400, 60, 2


def pair(rng: np.random.Generator) -> np.ndarray:
    """Two models' answers to all items of each task, `(N_TASKS, 2, N_ITEMS)`, some far apart."""
    ability = rng.normal(size=(N_TASKS, 2, 1))
    difficulty = 2.0 * rng.normal(size=(N_TASKS, 1, N_ITEMS))
    return rng.random((N_TASKS, 2, N_ITEMS)) < 1.0 / (1.0 + np.exp(difficulty - ability))


def scored(answers: np.ndarray, places: np.ndarray) -> TaskScores:
    return TaskScores(tuple(places.tolist()), tuple(answers[places].astype(float).tolist()))


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[Estimate], np.ndarray, np.ndarray]]:
    """Differences on common items, true differences, and standard errors without pairing."""
    rng, found = np.random.default_rng(0), []
    for _ in range(1200):
        answers, seen = pair(rng), np.zeros((2, N_ITEMS), dtype=bool)
        places = rng.permutation(N_ITEMS)[:N_SEEN]
        seen[:, places] = True
        differences = [
            paired_difference(scored(one, places), scored(other, places), N_ITEMS)
            for one, other in answers
        ]
        apart = answers[:, 0].mean(axis=1) - answers[:, 1].mean(axis=1)
        unpaired = [np.linalg.norm(Mean().estimates(seen, task).se) for task in answers]
        found.append((differences, apart, np.array(unpaired)))
    return found


def by_bin(said: np.ndarray, came: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How often what was said to be so likely came true beyond that, for each bin."""
    places = np.digitize(said, edges)
    return np.array([came[places == b].mean() - said[places == b].mean() for b in set(places)])


def test_the_better_of_two_is_the_better_as_often_as_said(pairs) -> None:
    said = np.array([p_greater(d) for differences, _, _ in pairs for d in differences])
    came = np.array([(apart > 0) + 0.5 * (apart == 0) for _, apart, _ in pairs]).ravel()
    assert np.abs(by_bin(said, came, np.array([0.1, 0.3, 0.5, 0.7, 0.9]))).max() < 0.07
    assert abs((said - came).mean()) < 0.02


def test_domination_happens_as_often_as_said(pairs) -> None:
    said = np.array([p_dominates(dict(zip("ab", d, strict=True))) for d, _, _ in pairs])
    came = np.array([(apart > 0).all() for _, apart, _ in pairs])
    assert np.abs(by_bin(said, came, np.array([0.05, 0.25, 0.5, 0.75]))).max() < 0.09
    assert said.mean() == pytest.approx(came.mean(), abs=0.03)


def test_intervals_of_paired_differences_hold_and_are_narrower_than_unpaired(pairs) -> None:
    found = [
        (abs(d.mean - truth) <= 1.96 * d.se, d.se, alone)
        for differences, apart, unpaired in pairs
        for d, truth, alone in zip(differences, apart, unpaired, strict=True)
    ]
    held, paired, unpaired = np.array(found).T
    assert held.mean() == pytest.approx(0.95, abs=0.02)
    assert paired.mean() < 0.9 * unpaired.mean()


def test_candidates_are_on_the_front_as_often_as_said() -> None:
    rng, said, came = np.random.default_rng(1), [], []
    for _ in range(120):
        truth = rng.normal(size=(15, 2))
        ses = rng.uniform(0.05, 0.4, size=truth.shape)
        means = truth + ses * rng.normal(size=truth.shape)
        said.append(front_probabilities(means, ses, rng, n_draws=200))
        came.append(front_probabilities(truth, np.zeros_like(truth), rng, n_draws=1))
    found, true = np.concatenate(said), np.concatenate(came)
    assert (np.array(said).sum(axis=1) >= 1.0).all()
    assert np.array(said).sum(axis=1).mean() == pytest.approx(
        np.array(came).sum(axis=1).mean(), rel=0.1
    )
    assert np.abs(by_bin(found, true, np.array([0.1, 0.35, 0.65, 0.9]))).max() < 0.1
