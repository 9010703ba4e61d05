"""After the search: who is scored again, and what both scores say together."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.records import Bound, Candidate, Estimate, Evaluation, GroupRecipe, Recipe
from evomerge.run.selecting import MOST_SELECTED, pooled, rescored, worth_rescoring
from evomerge.scoring.item_sets import Wanted, split_items
from evomerge.search.archive import front

scores = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30)


def evaluation(number: int, *estimates: Estimate, violation: float = 0.0) -> Evaluation:
    recipe = Recipe(("red",), {"layers.0-0": GroupRecipe("linear", {"coefficient": number / 64})})
    objectives = {f"objective {k}": estimate for k, estimate in enumerate(estimates)}
    return Evaluation(Candidate(number, (), recipe), objectives, violation=violation)


def of_20(*n_right: int) -> tuple[Estimate, ...]:
    return tuple(Estimate.of([1.0] * n + [0.0] * (20 - n)) for n in n_right)


def numbers(found: list[Evaluation]) -> list[int]:
    return [one.candidate.number for one in found]


@settings(deadline=None, max_examples=40)
@given(scores)
def test_the_front_comes_first_then_others_up_to_twice_its_size(
    results: list[tuple[int, int]],
) -> None:
    evaluated = [evaluation(k, *of_20(*result)) for k, result in enumerate(results)]
    best = front(evaluated)
    chosen = worth_rescoring(evaluated, seed=0)
    assert chosen[: len(best)] == best
    assert len(best) <= len(chosen) <= MOST_SELECTED * len(best)
    assert len(set(numbers(chosen))) == len(chosen)
    assert chosen == worth_rescoring(evaluated, seed=0)


def test_who_may_be_better_in_truth_is_scored_again_and_who_cannot_is_not() -> None:
    first, close, hopeless = (evaluation(n, *of_20(right)) for n, right in enumerate((15, 14, 1)))
    assert numbers(worth_rescoring([hopeless, first, close], seed=0)) == [0, 1]


def test_exact_scores_leave_no_doubt() -> None:
    best = evaluation(0, Estimate(7.0, 0.0, 1))
    other = evaluation(1, Estimate(6.9, math.nan, 1))
    assert numbers(worth_rescoring([best, other], seed=0)) == [0]


def test_who_misses_a_bound_is_not_scored_again_unless_all_do() -> None:
    feasible = evaluation(0, *of_20(10))
    better = evaluation(1, *of_20(19), violation=0.2)
    assert numbers(worth_rescoring([better, feasible], seed=0)) == [0]
    assert numbers(worth_rescoring([better], seed=0)) == [1]


def test_nobody_is_scored_again_where_nobody_was_scored() -> None:
    assert worth_rescoring([], seed=0) == []


def test_of_thousands_only_those_near_the_front_are_looked_at() -> None:
    rng = np.random.default_rng(0)
    rights = rng.integers(0, 21, size=(3000, 2)).tolist()
    evaluated = [evaluation(k, *of_20(*right)) for k, right in enumerate(rights)]
    chosen = worth_rescoring(evaluated, seed=0)
    assert len(front(evaluated)) < len(chosen) <= 2 * len(front(evaluated))


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(2, 38))
def test_both_together_are_the_mean_of_all_items(answers: list[bool], place: int) -> None:
    values = [float(answer) for answer in answers]
    cut = min(place, len(values) - 1)
    search, fresh = ({"a": Estimate.of(part)} for part in (values[:cut], values[cut:]))
    both = pooled(search, fresh)["a"]
    assert both.n == len(values)
    assert both.mean == pytest.approx(np.mean(values))


def test_independent_errors_add_up_by_their_numbers_of_items() -> None:
    both = pooled({"a": Estimate(0.4, 0.03, 100)}, {"a": Estimate(0.5, 0.04, 50)})["a"]
    assert both.mean == pytest.approx((100 * 0.4 + 50 * 0.5) / 150)
    assert both.se == pytest.approx(math.hypot(100 * 0.03, 50 * 0.04) / 150)


def test_what_has_no_fresh_items_keeps_the_estimate_of_the_search() -> None:
    size, agreement = Estimate(3e6, 0.0, 1), Estimate(0.8, 0.05, 60)
    fresh = {"agreement": Estimate(math.nan, math.nan, 0)}
    assert pooled({"size": size, "agreement": agreement}, fresh) == {
        "size": size,
        "agreement": agreement,
    }


def test_a_bound_is_judged_by_both_together() -> None:
    recipe = evaluation(0).candidate
    found = Evaluation(recipe, {}, constraints={"say": Estimate(0.6, 0.05, 100)})
    fresh = {"say": Estimate(0.3, 0.05, 100)}
    judged = rescored(found, fresh, {"say": Bound(">=", 0.5)})
    assert judged.constraints["say"].mean == pytest.approx(0.45)
    assert judged.violation == pytest.approx(0.1)


def test_the_fresh_score_of_the_best_of_many_equals_does_not_flatter_it() -> None:
    """Forty candidates that are as good as a coin in truth, on the items of a task as split."""
    rng = np.random.default_rng(0)
    texts = [str(number) for number in range(100)]
    searched, fresh = [], []
    for seed in range(300):
        items = split_items("task", texts, Wanted(selection=0.4), seed=seed)
        answers = rng.integers(0, 2, (40, 100)).astype(float)
        estimates = [Estimate.of(own[list(items.search)].tolist()) for own in answers]
        evaluated = [evaluation(k, estimate) for k, estimate in enumerate(estimates)]
        best = worth_rescoring(evaluated, seed)[0].candidate.number
        searched.append(estimates[best].mean)
        fresh.append(answers[best, list(items.selection)].mean())
    assert np.mean(searched) - 0.5 > 0.1  # the winner's curse
    assert abs(np.mean(fresh) - 0.5) < 3 * 0.5 / math.sqrt(40 * 300)


def test_both_scores_choose_better_than_either_alone_and_flatter_less_than_fresh_ones() -> None:
    """Candidates of different worth: the truth about the chosen, what its fresh score claims."""
    rng = np.random.default_rng(0)
    n_draws, n_candidates, n_search, n_fresh = 2000, 30, 120, 60
    truth = rng.normal(0.6, 0.04, (n_draws, n_candidates))
    searched = rng.binomial(n_search, truth)
    fresh = rng.binomial(n_fresh, truth)
    rows = np.arange(n_draws)

    def outcome(by: np.ndarray) -> tuple[float, float]:
        chosen = by.argmax(axis=1)
        true = truth[rows, chosen]
        return float(true.mean()), float((fresh[rows, chosen] / n_fresh - true).mean())

    alone, again, both = outcome(searched), outcome(fresh), outcome(searched + fresh)
    assert both[0] > max(alone[0], again[0])
    assert abs(alone[1]) < 0.005
    assert both[1] < again[1]
