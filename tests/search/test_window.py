"""When the search may ask and tell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evomerge.errors import UsageError
from evomerge.search.ordered import Step, Window

SIZES = st.integers(1, 9)
BUDGETS = st.integers(1, 25)


def play(window: Window, n_workers: int, pick: st.DataObject) -> list[Step]:
    """Every step when `n_workers` work at the asked numbers in order and end in any order."""
    taken: list[Step] = []
    while True:
        taken.extend(window.steps())
        if window.done:
            return taken
        at_work = window.out[:n_workers]
        for number in pick.draw(st.lists(st.sampled_from(at_work), min_size=1, unique=True)):
            window.arrive(number)


@settings(max_examples=50)
@given(SIZES, BUDGETS, st.integers(1, 12), st.data())
def test_arrivals_and_workers_do_not_change_the_steps(
    size: int, budget: int, n_workers: int, pick: st.DataObject
) -> None:
    assert play(Window(size, budget), n_workers, pick) == in_order(size, budget)


def in_order(size: int, budget: int) -> list[Step]:
    """The steps by definition: ask k, having told 0 … k−W; at the end, tell the rest."""
    steps: list[Step] = []
    for number in range(budget):
        if number >= size:
            steps.append(Step("tell", number - size))
        steps.append(Step("ask", number))
    rest = range(max(budget - size, 0), budget)
    return steps + [Step("tell", number) for number in rest]


@settings(max_examples=50)
@given(SIZES, BUDGETS, st.integers(1, 12), st.data())
def test_async_asks_and_tells_everything_once_and_never_has_too_many_out(
    size: int, budget: int, n_workers: int, pick: st.DataObject
) -> None:
    steps = play(Window(size, budget, "async"), n_workers, pick)
    asked = [step.number for step in steps if step.action == "ask"]
    told = [step.number for step in steps if step.action == "tell"]
    assert asked == sorted(told) == list(range(budget))
    out = 0
    for step in steps:
        out += 1 if step.action == "ask" else -1
        assert 0 <= out <= size


def test_async_tells_in_the_order_of_arrival() -> None:
    window = Window(3, 3, "async")
    assert [step.action for step in window.steps()] == ["ask"] * 3
    window.arrive(2)
    window.arrive(0)
    assert list(window.steps()) == [Step("tell", 2), Step("tell", 0)]


@settings(max_examples=50)
@given(SIZES, BUDGETS, st.integers(0, 60), st.sampled_from(["deterministic", "async"]), st.data())
def test_a_window_resumed_at_any_step_goes_on_as_if_nothing_had_happened(
    size: int, budget: int, stop: int, mode: str, pick: st.DataObject
) -> None:
    whole = play(Window(size, budget, mode), 4, pick)
    past, future = whole[:stop], whole[stop:]
    told = [step.number for step in past if step.action == "tell"]
    resumed = Window(size, budget, mode, asked=len(past) - len(told), told=told)
    continued = []
    for expected in future:
        if expected.action == "tell":
            resumed.arrive(expected.number)
        continued.append(next(resumed.steps()))
    assert continued == future
    assert resumed.done


def test_a_result_that_arrives_between_two_steps_is_seen() -> None:
    window = Window(1, 2)
    taken = []
    for step in window.steps():
        taken.append(step)
        if step.action == "ask":
            window.arrive(step.number)
    assert taken == in_order(1, 2)


def test_a_result_that_arrives_again_changes_nothing() -> None:
    window = Window(1, 1)
    list(window.steps())
    window.arrive(0)
    window.arrive(0)
    assert list(window.steps()) == [Step("tell", 0)]
    window.arrive(0)
    assert list(window.steps()) == []


def test_what_was_asked_and_has_not_arrived_is_out() -> None:
    window = Window(3, 9)
    list(window.steps())
    window.arrive(1)
    assert window.out == [0, 2]


def test_a_result_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(UsageError, match="arrived for candidate 0, but only 0 were asked"):
        Window(2, 4).arrive(0)


@pytest.mark.parametrize(("size", "budget"), [(0, 4), (4, 0)])
def test_a_window_or_budget_of_nothing_is_refused(size: int, budget: int) -> None:
    with pytest.raises(UsageError, match="expected both to be at least 1"):
        Window(size, budget)


@pytest.mark.parametrize(
    ("asked", "told", "mode"),
    [
        (3, (), "deterministic"),
        (5, (0, 1, 2), "async"),
        (2, (1,), "deterministic"),
        (1, (3,), "async"),
    ],
)
def test_an_impossible_past_is_refused(asked: int, told: tuple[int, ...], mode: str) -> None:
    with pytest.raises(UsageError, match="continue the run with the experiment that started it"):
        Window(2, 4, mode, asked=asked, told=told)
