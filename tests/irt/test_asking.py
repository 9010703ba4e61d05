"""What a candidate is asked, in which order, and what its answers are taken to say."""

import pickle

import numpy as np
import pytest

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.adaptive import Adaptive, Validation
from evomerge.irt.asking import Asking, RandomAsking, Survey, survey_of
from evomerge.irt.person_fit import person_fit
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank
from evomerge.records import TaskScores

ITEMS = tuple(range(0, 240, 2))


def simulate(n_models: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    slopes, difficulty = rng.uniform(0.6, 2.0, 120), rng.normal(size=120)
    chance = 1 / (1 + np.exp(-slopes * (rng.normal(size=(n_models, 1)) * 1.3 - difficulty)))
    return rng.random((n_models, 120)) < chance


RESPONSES = simulate(200, seed=0)
ORDER = tuple(int(ITEMS[place]) for place in np.random.default_rng(0).permutation(120))


@pytest.fixture(scope="module")
def bank() -> TraitBank:
    return fit_trait_bank("arc", ITEMS, RESPONSES[:60], {"fingerprint": "abc"})


@pytest.fixture(scope="module")
def survey(bank) -> Survey:
    return survey_of(bank, ITEMS, 40, 10)


def answer(items: tuple[int, ...], answers: np.ndarray) -> TaskScores:
    return TaskScores(items, tuple(float(answers[ITEMS.index(item)]) for item in items))


def interview(asking: Asking, answers: np.ndarray) -> TaskScores:
    """All answers of a model that is asked the common items and whatever is wanted then."""
    scores = answer(asking.order[: asking.survey.n_common], answers)
    while more := asking.next_items({asking.measure: scores}):
        scores = scores.then(answer(more, answers))
    return scores


def test_a_candidate_is_asked_the_common_items_and_then_as_many_others(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    for answers in RESPONSES[60:70]:
        items = interview(asking, answers).items
        assert items[:10] == ORDER[:10]
        assert len(set(items)) == len(items) == 40


def test_different_candidates_are_asked_different_items_and_equal_ones_the_same(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    asked = [interview(asking, answers).items for answers in RESPONSES[60:70]]
    assert len(set(asked)) > 5
    travelled = pickle.loads(pickle.dumps(asking))  # noqa: S301 - our own, as Ray sends it
    assert [interview(travelled, answers).items for answers in RESPONSES[60:70]] == asked


def test_an_asking_travels_without_the_curves_of_its_items(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    before = len(pickle.dumps(asking))
    interview(asking, RESPONSES[60])  # which computes them
    traits = survey.estimator.traits
    assert before == len(pickle.dumps(asking)) < traits.nodes.nbytes + traits.slopes.nbytes + 40_000


def test_a_survey_that_arrives_again_is_the_one_that_was_there(survey, bank) -> None:
    sent = [pickle.dumps(Asking(survey, "arc", order)) for order in (ORDER, ORDER[::-1])]
    one, other = (pickle.loads(data) for data in sent)  # noqa: S301 - our own, as Ray sends it
    assert one.order != other.order
    assert one.survey is other.survey
    longer = survey_of(bank, ITEMS, 50, 10)
    assert pickle.loads(pickle.dumps(longer)).n == 50  # noqa: S301


def test_answers_in_the_order_of_asking_are_estimated_well(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    errors, plain = [], []
    for answers in RESPONSES[60:160]:
        estimate = survey(interview(asking, answers))
        errors.append(abs(estimate.mean - answers.mean()))
        plain.append(abs(answer(ORDER[:40], answers).estimate().mean - answers.mean()))
        assert estimate.se > 0.0
        assert estimate.n >= 40
    assert np.mean(errors) < 0.85 * np.mean(plain)


@pytest.mark.parametrize("value", [True, False])
def test_all_right_and_all_wrong_candidates_have_a_sensible_score_and_a_doubt(
    survey, value: bool
) -> None:
    scores = interview(Asking(survey, "arc", ORDER), np.full(120, value))
    estimate = survey(scores)
    assert abs(estimate.mean - value) < 0.15
    assert 0.0 < estimate.se < 0.15


def test_all_items_answered_give_the_exact_mean(survey) -> None:
    estimate = survey(answer(ITEMS, RESPONSES[70]))
    assert estimate.mean == pytest.approx(RESPONSES[70].mean())
    assert (estimate.se, estimate.n) == (0.0, 120)


def test_answers_that_do_not_fit_raise_an_alarm_and_bring_fresh_random_items(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    shares = RESPONSES.mean(axis=0)
    answers = shares < np.median(shares)  # the harder half right, the easier one wrong
    scores = interview(asking, answers)
    assert len(scores.items) == 80
    assert survey.has_alarmed(scores)
    fresh = [item for item in ORDER if item not in scores.items[:40]][:40]
    assert scores.items[40:] == tuple(fresh)
    corrected = survey(scores)
    believed = survey.on_task(scores.first(40))
    assert abs(corrected.mean - 0.5) < 0.5 * abs(believed.mean - 0.5)
    assert abs(corrected.mean - 0.5) < 2.5 * corrected.se


def test_answers_that_fit_hardly_ever_raise_it(survey) -> None:
    asking = Asking(survey, "arc", ORDER)
    alarms = [survey.has_alarmed(interview(asking, answers)) for answers in RESPONSES[60:200]]
    assert np.mean(alarms) <= 0.02


def test_answers_as_the_model_draws_them_fit_it(survey) -> None:
    traits, rng = survey.estimator.traits, np.random.default_rng(3)
    nodes = rng.choice(len(traits.nodes), size=400, p=np.exp(traits.log_prior))
    right = rng.random((400, 120)) < traits.right[nodes]
    seen = np.tile(rng.random(120) < 0.5, (400, 1))
    found = person_fit(traits, seen, right)
    assert 0.0 < found.mean() < 1.2
    assert found.std() < 1.1
    assert (
        person_fit(traits, seen, rng.random((400, 120)) < 0.5) < found.mean() - 1.0
    ).mean() > 0.8


def test_where_the_model_is_not_trusted_all_items_are_random_and_come_at_once(survey) -> None:
    doubted = Adaptive(survey.estimator.traits, (Validation(20, 0.05, 0.04, 0.06, 1.0, 1.0),))
    random = Survey("arc", ITEMS, doubted, 40, 10)
    scores = interview(Asking(random, "arc", ORDER), RESPONSES[60])
    assert scores.items == ORDER[:40]
    assert random(scores).mean == pytest.approx(np.mean(scores.values))


def test_answers_that_are_not_right_or_wrong_leave_the_mean_of_the_random_ones(survey) -> None:
    scores = TaskScores(ORDER[:12], (0.5, *([1.0] * 11)))
    assert Asking(survey, "arc", ORDER).next_items({"arc": scores}) == ()
    assert survey(scores) == scores.first(10).estimate()
    everything = TaskScores(ITEMS, (0.5,) * 120)
    assert survey(everything) == everything.estimate()


def test_more_items_than_there_are_mean_all_of_them(bank) -> None:
    asking = Asking(survey_of(bank, ITEMS, 500, 10), "arc", ORDER)
    scores = interview(asking, RESPONSES[60])
    assert sorted(scores.items) == list(ITEMS)
    assert asking.survey(scores).se == 0.0


def test_a_part_of_a_bank_is_asked_that_part_alone_and_estimates_its_mean(bank) -> None:
    part, answers = ITEMS[30:90], RESPONSES[60]
    order = tuple(item for item in ORDER if item in part)
    asking = Asking(survey_of(bank, part, 60, 10), "arc", order)
    scores = interview(asking, answers)
    assert sorted(scores.items) == list(part)
    assert asking.survey(scores).mean == pytest.approx(answers[30:90].mean())


def test_items_that_the_bank_does_not_have_are_refused(bank) -> None:
    with pytest.raises(
        CalibrationError, match=r"does not have items \[1, 3\] of the 3 to be asked"
    ):
        survey_of(bank, (1, 2, 3), 2, 1)


def test_an_answer_to_an_unknown_item_is_refused(survey) -> None:
    with pytest.raises(ScoringError, match=r"was scored on items \[7\]"):
        survey(TaskScores((7, 8), (1.0, 0.0)))


def test_without_a_survey_the_missing_items_come_at_once() -> None:
    asking = RandomAsking(5, (9, 2, 4, 6, 8, 1))
    assert asking.next_items({"text": TaskScores((2, 9), (0.3, 0.1))}) == (4, 6, 8)
    assert asking.next_items({"text": TaskScores((2, 9, 4, 6, 8), (0.3,) * 5)}) == ()
