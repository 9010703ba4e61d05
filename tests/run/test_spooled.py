"""What a resumed run takes from the spool: results of its own open jobs, and of nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evomerge.journal.events import Proposed
from evomerge.journal.journal import Journal
from evomerge.journal.spool import Spool, answers
from evomerge.records import Failure, ItemScores, Phase, TaskScores
from evomerge.run.record import Record
from evomerge.run.spooled import collect

ITEMS = {"task": (4, 2)}


def scores(name: str, items: tuple[int, ...] = (4, 2), phase: Phase = "search") -> ItemScores:
    return ItemScores(name, {"task": TaskScores(items, tuple(0.5 for _ in items))}, phase)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """A run that handed out the search job of the candidate `abc`."""
    with Journal.create(tmp_path / "journal.db") as journal:
        record = Record(journal)
        record.append(Proposed("abc", "search"))
        yield record


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


def test_the_result_of_an_open_job_is_journaled_and_forgotten(record: Record, spool: Spool) -> None:
    spool.put(scores("abc"))
    assert collect(spool, record, lambda result: answers(result, ITEMS)) == 1
    assert record.state.result("abc") == scores("abc")
    assert spool.collect() == []


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(scores("abc", items=(4, 2, 7)), id="of more items"),
        pytest.param(scores("abc", items=(1, 2)), id="of other items"),
        pytest.param(ItemScores("abc", {}), id="of no task"),
        pytest.param(scores("abc", phase="test"), id="of a phase that was not handed out"),
        pytest.param(scores("def"), id="of another candidate"),
        pytest.param(Failure("abc", "exception"), id="a failure, which no worker leaves"),
    ],
)
def test_a_result_that_nobody_asked_for_is_dropped(
    record: Record, spool: Spool, foreign: ItemScores | Failure
) -> None:
    spool.put(foreign)
    assert collect(spool, record, lambda result: answers(result, ITEMS)) == 0
    assert record.state.results == {}
    assert spool.collect() == []


def test_what_the_journal_has_is_not_counted_twice(record: Record, spool: Spool) -> None:
    record.append_result(scores("abc"))
    spool.put(scores("abc"))
    assert collect(spool, record, lambda result: answers(result, ITEMS)) == 0
    assert record.state.n_duplicates == 0
