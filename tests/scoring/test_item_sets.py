"""The items of the search, the selection and the test are disjoint, and nobody is forgotten."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import ScoringError
from evomerge.scoring.item_sets import Wanted, asking_order, split_items

shares = st.floats(0.0, 0.4)
numbers = st.integers(20, 300)
seeds = st.integers(0, 2**32 - 1)


def questions(n: int) -> list[str]:
    return [f"question {number}" for number in range(n)]


@given(numbers, shares, shares, seeds)
def test_the_sets_are_disjoint_and_cover_the_benchmark(
    n: int, test: float, selection: float, seed: int
) -> None:
    sets = split_items("task", questions(n), Wanted(test, selection), seed=seed)
    assert sorted((*sets.search, *sets.selection, *sets.test)) == list(range(n))
    assert list(sets.selection) == sorted(sets.selection)
    assert list(sets.test) == sorted(sets.test)


@given(numbers, shares, shares, seeds)
def test_sets_have_the_size_that_is_wanted_or_are_empty(
    n: int, test: float, selection: float, seed: int
) -> None:
    sets = split_items("task", questions(n), Wanted(test, selection), seed=seed)
    for share, items in ((test, sets.test), (selection, sets.selection)):
        wanted = round(share * n)
        assert len(items) == (wanted if wanted >= 2 else 0)


@given(st.permutations(range(40)), seeds)
def test_where_an_item_falls_does_not_depend_on_the_order_of_the_items(
    order: list[int], seed: int
) -> None:
    texts, wanted = questions(40), Wanted(0.25, 0.2)
    shuffled = [texts[item] for item in order]
    one = split_items("task", texts, wanted, seed=seed)
    other = split_items("task", shuffled, wanted, seed=seed)
    for mine, theirs in zip(
        (one.search, one.selection, one.test),
        (other.search, other.selection, other.test),
        strict=True,
    ):
        assert {texts[item] for item in mine} == {shuffled[item] for item in theirs}
    assert [texts[item] for item in one.search] == [shuffled[item] for item in other.search]


@given(st.lists(st.integers(0, 15), min_size=30, max_size=80), seeds)
def test_equal_items_are_never_in_different_sets(contents: list[int], seed: int) -> None:
    texts = [str(content) for content in contents]
    try:
        sets = split_items("task", texts, Wanted(0.25, 0.2), seed=seed)
    except ScoringError:
        return  # nearly all items are equal
    known = [{texts[item] for item in own} for own in (sets.search, sets.selection, sets.test)]
    assert sum(map(len, known)) == len(set().union(*known))


@given(st.sets(st.integers(0, 39), max_size=25), seeds)
def test_items_of_a_test_set_are_left_out(barred: set[int], seed: int) -> None:
    texts = questions(40)
    banned = {texts[item] for item in barred}
    sets = split_items("task", texts, Wanted(selection=0.2), seed=seed, barred=banned)
    assert not barred & {*sets.search, *sets.selection, *sets.test}
    assert any("in a test set too" in note for note in sets.notes) == bool(barred)


def test_the_sets_are_the_same_in_every_process() -> None:
    sets = split_items("math_search", questions(20), Wanted(0.25, 0.2), seed=0)
    assert sets == split_items("math_search", questions(20), Wanted(0.25, 0.2), seed=0)
    assert (sets.test, sets.selection) == ((0, 3, 7, 8, 15), (2, 4, 5, 16))


def test_seeds_and_tasks_draw_different_sets() -> None:
    draws = {
        split_items(task, questions(1000), Wanted(0.02), seed=seed).test
        for seed in range(5)
        for task in ("a", "b")
    }
    assert len(draws) == 10


def test_every_item_is_drawn_about_equally_often() -> None:
    counts = Counter[int]()
    for seed in range(2000):
        counts.update(split_items("task", questions(10), Wanted(0.3), seed=seed).test)
    assert all(500 < counts[item] < 700 for item in range(10))  # 600 expected, deviation 20


@pytest.mark.parametrize(("n", "n_test", "n_selection"), [(20, 5, 4), (8, 2, 2), (7, 2, 0)])
def test_a_small_task_keeps_two_items_of_each_set_or_none_and_says_so(
    n: int, n_test: int, n_selection: int
) -> None:
    sets = split_items("few", questions(n), Wanted(0.25, 0.2), seed=0)
    assert (len(sets.test), len(sets.selection)) == (n_test, n_selection)
    told = "few has 7 items, too few to keep 20% of them for a selection"
    assert (told in sets.notes) == (n_selection == 0)


@pytest.mark.parametrize("n", [2, 3])
def test_a_tiny_task_is_left_to_the_search_whole(n: int) -> None:
    sets = split_items("tiny", questions(n), Wanted(0.25, 0.2), seed=0)
    assert sorted(sets.search) == list(range(n))
    assert len(sets.notes) == 2


def test_a_search_without_items_is_refused() -> None:
    with pytest.raises(ScoringError, match=r"of the 1 items of 'one' 1 are left to the search"):
        split_items("one", questions(1), Wanted(), seed=0)
    told = r"1 are left.*beside 5 kept for the test, 14 for the selection.*scoring\.held_out"
    with pytest.raises(ScoringError, match=told):
        split_items("task", questions(20), Wanted(0.25, 14), seed=0)
    told = r"0 are left.*and 20 that are in a test set too"
    with pytest.raises(ScoringError, match=told):
        split_items("task", questions(20), Wanted(), seed=0, barred=frozenset(questions(20)))


@given(st.integers(2, 200), st.integers(2, 100), st.floats(0.0, 1.0), st.integers(0, 500))
def test_a_generation_shares_most_common_items_with_the_next(
    n_pool: int, n_common: int, rotation: float, generation: int
) -> None:
    def common(generation: int) -> set[int]:
        order = asking_order(pool, generation, n_common=n_common, rotation=rotation)
        assert sorted(order) == sorted(pool)
        return set(order[:n_common])

    pool = tuple(np.random.default_rng(n_pool).permutation(n_pool).tolist())
    here, there = common(generation), common(generation + 1)
    n = min(n_common, n_pool)
    exchanged = max(round(rotation * n), 1) if rotation else 0
    assert len(here) == len(there) == n
    assert len(here & there) >= n - exchanged
    if n + exchanged <= n_pool:
        assert len(here & there) == n - exchanged


@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.01, 1.0))
def test_over_a_whole_turn_every_item_is_common_nearly_equally_often(
    n_pool: int, n_common: int, rotation: float
) -> None:
    step = max(round(rotation * min(n_common, n_pool)), 1)
    n_generations = n_pool // math.gcd(n_pool, step)
    counts = Counter(
        item
        for generation in range(n_generations)
        for item in asking_order(range(n_pool), generation, n_common=n_common, rotation=rotation)[
            :n_common
        ]
    )
    assert len(counts) == n_pool
    assert max(counts.values()) - min(counts.values()) <= 1


def test_without_rotation_every_generation_is_asked_the_same() -> None:
    orders = {asking_order((4, 2, 9), g, n_common=2, rotation=0.0) for g in range(9)}
    assert orders == {(4, 2, 9)}
