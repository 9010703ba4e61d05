"""Item results become objectives in their own direction, bounds and agreement between merges."""

import math
from collections.abc import Mapping, Sequence

import pytest

from evomerge.errors import ScoringError
from evomerge.journal.events import Asked, Failed, Scored, Told
from evomerge.journal.state import RunState, fold
from evomerge.records import (
    Candidate,
    Estimate,
    Evaluation,
    FailedCandidate,
    Failure,
    ItemScores,
    Measure,
    Recipe,
    TaskScores,
)
from evomerge.run.bounds import parse_requirement
from evomerge.run.estimates import Objectives, ObjectiveTasks
from evomerge.run.models import Models

PERPLEXITY = Measure("perplexity", higher_is_better=False)
BASELINES = {name: Recipe((name,), {}) for name in ("base", "red", "uniform", "default")}
ITEMS = (0, 1, 2, 3)


def answers(values: Sequence[float], key: str = "task") -> dict[str, TaskScores]:
    return {key: TaskScores(ITEMS[: len(values)], tuple(map(float, values)))}


def baseline(name: str, tasks: Mapping[str, TaskScores]) -> Scored:
    return Scored(ItemScores(BASELINES[name].digest, tasks))


def candidate(number: int, gene: float) -> Candidate:
    return Candidate(number, (gene,), Recipe(("red",), {}, seed=100 + number))


def asked_and_scored(number: int, gene: float, values: Sequence[float]) -> list[Asked | Scored]:
    made = candidate(number, gene)
    asked = Asked(number, 0, made.id, made.genome, made.recipe)
    return [asked, Scored(ItemScores(made.id, answers(values, "task:agreement")))]


def told(order: int, number: int) -> Told:
    return Told(order, number, candidate(number, 0.0).id)


def objectives(state: RunState, *tasks: ObjectiveTasks) -> Objectives:
    return Objectives(tasks, models=Models(state, BASELINES))


ACCURACY = ObjectiveTasks("acc", "task", "task")
SURPRISE = ObjectiveTasks("ppl", "wiki", "wiki", measure=PERPLEXITY)
BOUNDED = ObjectiveTasks("acc", "task", "task", requirement=parse_requirement(">= 0.9 * base"))


def test_natural_values_are_kept_and_signed_for_who_maximises() -> None:
    scores = ItemScores("x", answers([1, 0, 1, 1]) | answers([-1.0, -2.0], "wiki"))
    outcome = objectives(fold([]), ACCURACY, SURPRISE).outcome(candidate(0, 0.5), scores)
    assert isinstance(outcome, Evaluation)
    assert outcome.objectives["ppl"].mean == pytest.approx(math.exp(1.5))
    assert outcome.means == (0.75, -math.exp(1.5))
    assert outcome.violation == 0.0


def test_a_bounded_quantity_is_measured_and_not_optimised() -> None:
    state = fold([baseline("base", answers([1, 1, 1, 0]))])
    made = objectives(state, BOUNDED, SURPRISE)
    scores = ItemScores("x", answers([1, 0, 1, 0]) | answers([-1.0, -2.0], "wiki"))
    outcome = made.outcome(candidate(0, 0.5), scores)
    assert isinstance(outcome, Evaluation)
    assert made.names == tuple(outcome.objectives) == ("ppl",)
    assert outcome.constraints["acc"].mean == 0.5
    assert made.bounds()["acc"].limit == pytest.approx(0.675)
    assert outcome.violation == pytest.approx(1 - 0.5 / 0.675)


def test_a_baseline_that_failed_bounds_nothing_and_stops_the_run() -> None:
    failure = Failure(BASELINES["base"].digest, "exception", "no")
    with pytest.raises(ScoringError, match=r"acc is held to >= 0.9 \* base, but the baseline base"):
        objectives(fold([Failed(failure)]), BOUNDED, SURPRISE).require_limits()
    objectives(fold([baseline("base", answers([1, 0]))]), BOUNDED, SURPRISE).require_limits()


def test_volume_is_measured_from_zero_or_the_worst_of_the_usual_baselines() -> None:
    tasks = {"base": [-1.0, -1.0], "red": [-3.0, -3.0], "default": [-9.0, -9.0]}
    state = fold([baseline(name, answers(values, "wiki")) for name, values in tasks.items()])
    assert objectives(state, ACCURACY, SURPRISE).reference() == [0.0, pytest.approx(-math.exp(3))]
    only_default = fold([baseline("default", answers([-2.0, -2.0], "wiki"))])
    assert objectives(only_default, SURPRISE).reference() == [pytest.approx(-math.exp(2))]


def test_items_that_add_up_to_no_number_fail_the_candidate() -> None:
    scores = ItemScores("x", answers([-1e9, -1e9], "wiki"))
    outcome = objectives(fold([]), SURPRISE).outcome(candidate(3, 0.5), scores)
    assert isinstance(outcome, FailedCandidate)
    assert outcome.failure.reason == "non_finite"
    assert "the items of ppl add up to inf" in outcome.failure.message


ALIKE = ObjectiveTasks("alike", "task", "task", metric="agreement", measure=Measure(is_share=True))
STAND_INS = [
    baseline("uniform", answers([1, 1, 1, 1], "task:agreement")),
    baseline("default", answers([1, 1, 2, 2], "task:agreement")),
    baseline("base", answers([9, 9, 9, 9], "task:agreement")),
]


def estimate_of(state: RunState, number: int) -> Estimate:
    found = state.candidates[number]
    result = state.result(found.id)
    assert isinstance(result, ItemScores)
    return objectives(state, ALIKE).estimates(result)["alike"]


def test_the_first_candidate_agrees_with_uniform_and_default() -> None:
    state = fold([*STAND_INS, *asked_and_scored(0, 0.5, [1, 1, 1, 3])])
    assert estimate_of(state, 0) == Estimate.of([1.0, 1.0, 0.5, 0.0])


def test_later_candidates_agree_with_the_two_nearest_that_were_told_before() -> None:
    events = [
        *STAND_INS,
        *asked_and_scored(0, 0.0, [5, 5, 5, 5]),
        *asked_and_scored(1, 0.6, [1, 2, 3, 4]),
        *asked_and_scored(2, 0.4, [1, 2, 7, 7]),
        *(told(number, number) for number in range(3)),
        *asked_and_scored(3, 0.5, [1, 8, 3, 8]),
    ]
    assert estimate_of(fold(events), 3) == Estimate.of([1.0, 0.0, 0.5, 0.0])


def test_what_is_told_later_changes_nothing() -> None:
    events = [
        *STAND_INS,
        *asked_and_scored(0, 0.1, [1, 2, 3, 4]),
        *asked_and_scored(1, 0.9, [1, 2, 4, 4]),
        *asked_and_scored(2, 0.2, [1, 2, 3, 4]),
        *(told(number, number) for number in range(2)),
    ]
    before = estimate_of(fold(events), 2)
    later = [told(2, 2), *asked_and_scored(3, 0.2, [6, 6, 6, 6]), told(3, 3)]
    assert estimate_of(fold([*events, *later]), 2) == before == Estimate.of([1.0, 1.0, 0.5, 1.0])


def test_failed_candidates_and_those_asked_other_items_are_no_neighbours() -> None:
    failed = candidate(0, 0.5)
    other = candidate(1, 0.5)
    elsewhere = TaskScores((7, 8, 9), (1.0, 1.0, 1.0))
    events = [
        *STAND_INS,
        Asked(0, 0, failed.id, failed.genome, failed.recipe),
        Failed(Failure(failed.id, "exception")),
        Asked(1, 0, other.id, other.genome, other.recipe),
        Scored(ItemScores(other.id, {"task:agreement": elsewhere})),
        *(told(number, number) for number in range(2)),
        *asked_and_scored(2, 0.5, [1, 1, 1, 3]),
    ]
    assert estimate_of(fold(events), 2) == Estimate.of([1.0, 1.0, 0.5, 0.0])


def test_baselines_agree_with_each_other_and_nothing_is_compared_after_the_search() -> None:
    state = fold(STAND_INS)
    made = objectives(state, ALIKE)
    uniform = state.result(BASELINES["uniform"].digest)
    assert isinstance(uniform, ItemScores)
    assert made.estimates(uniform)["alike"] == Estimate.of([0.5, 0.5, 0.0, 0.0])
    test = ItemScores("x", answers([1, 1], "task:agreement"), phase="test")
    assert made.estimates(test) == {}


def test_many_candidates_are_kept_in_order() -> None:
    """Room for genomes grows several times; each candidate is nearest to the one before."""
    events: list[object] = [*STAND_INS]
    for number in range(60):
        values = [number // 2] * 4
        events += [*asked_and_scored(number, number / 60, values), told(number, number)]
    state = fold(events)  # type: ignore[arg-type]
    assert all(estimate_of(state, n).mean == (0.5 if n % 2 else 0.0) for n in range(4, 60))
