"""What a worker scores when a job goes on asking, and whether a result is that of its job."""

from collections.abc import Mapping, Sequence

import pytest

from evomerge.journal.spool import answers
from evomerge.records import ItemScores, Job, Recipe, TaskScores
from evomerge.workers.asking import ask

RECIPE = Recipe((), {})


class Doubling:
    """An asker that wants, for every item that was right, the item of twice its number."""

    def next_items(self, found: Mapping[str, TaskScores]) -> tuple[int, ...]:
        scores = found["left"]
        right = [i for i, value in zip(scores.items, scores.values, strict=True) if value == 1.0]
        return tuple(2 * item for item in right if 2 * item not in scores.items and item < 8)


class Parity:
    """A scorer that finds even items right; it remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[dict[str, tuple[int, ...]]] = []

    def score(self, items: Mapping[str, Sequence[int]]) -> dict[str, TaskScores]:
        self.batches.append({name: tuple(own) for name, own in items.items()})
        return {
            name: TaskScores(tuple(own), tuple(float(item % 2 == 0) for item in own))
            for name, own in items.items()
        }


JOB = Job("abc", RECIPE, {"left": (1, 2, 3), "right": (5,)}, asking={"left": Doubling()})


def test_items_are_scored_in_batches_until_no_more_are_wanted() -> None:
    scorer = Parity()
    scores = ask(scorer, JOB)
    assert scores["left"] == TaskScores((1, 2, 3, 4, 8), (0.0, 1.0, 0.0, 1.0, 1.0))
    assert scores["right"].items == (5,)
    assert scorer.batches == [
        {"left": (1, 2, 3)},
        {"left": (4,)},
        {"left": (8,)},
        {"right": (5,)},
    ]


def test_the_result_of_a_job_that_asks_answers_it() -> None:
    result = ItemScores("abc", ask(Parity(), JOB))
    assert answers(result, JOB.items, JOB.asking)
    assert not answers(result, JOB.items)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(TaskScores((1, 2, 3), (0.0, 1.0, 0.0)), id="the common items alone"),
        pytest.param(TaskScores((1, 2, 3, 4), (0.0, 1.0, 0.0, 1.0)), id="a batch short"),
        pytest.param(TaskScores((1, 2, 3, 6), (0.0, 1.0, 0.0, 1.0)), id="another item"),
        pytest.param(TaskScores((2, 1, 3, 4, 8), (1.0, 0.0, 0.0, 1.0, 1.0)), id="another order"),
        pytest.param(TaskScores((1, 2, 3, 4, 8, 16), (0.0, 1.0, 0.0, 1.0, 1.0, 1.0)), id="more"),
    ],
)
def test_a_result_with_other_items_does_not(left: TaskScores) -> None:
    result = ItemScores("abc", {"left": left, "right": TaskScores((5,), (0.0,))})
    assert not answers(result, JOB.items, JOB.asking)


def test_every_measure_of_a_benchmark_must_hold_the_same_items() -> None:
    scores = ask(Parity(), JOB)
    more = {"left:acc_norm": scores["left"], **scores}
    assert answers(ItemScores("abc", more), JOB.items, JOB.asking)
    short = {"left:acc_norm": scores["left"].first(4), **scores}
    assert not answers(ItemScores("abc", short), JOB.items, JOB.asking)
    assert not answers(ItemScores("abc", {"other": scores["left"], **scores}), JOB.items)
