from hypothesis import given
from hypothesis import strategies as st

from evomerge.scoring.subset import choose_items


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 2**31))
def test_a_subset_is_sorted_distinct_and_within_the_task(n_items: int, n: int, seed: int) -> None:
    items = choose_items(n_items, n, seed, "task")
    assert len(items) == min(n, n_items)
    assert list(items) == sorted(set(items))
    assert all(0 <= item < n_items for item in items)


def test_a_subset_is_the_same_in_every_process() -> None:
    assert choose_items(100, 5, 0, "math_search") == choose_items(100, 5, 0, "math_search")
    assert choose_items(100, 5, 0, "math_search") == (46, 66, 82, 84, 99)


def test_seeds_and_tasks_draw_different_items() -> None:
    draws = {choose_items(1000, 20, seed, task) for seed in range(5) for task in ("a", "b")}
    assert len(draws) == 10


def test_every_item_is_drawn_about_equally_often() -> None:
    counts = [0] * 10
    for seed in range(2000):
        for item in choose_items(10, 3, seed, "task"):
            counts[item] += 1
    assert all(500 < count < 700 for count in counts)  # 600 expected, standard deviation 20
