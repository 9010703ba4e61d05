"""Appending to a journal and reading it back."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.errors import JournalError
from evomerge.journal import codec
from evomerge.journal.events import Duplicate, Finished, Scored, Stopped
from evomerge.journal.journal import Journal
from evomerge.records import ItemScores, TaskScores


def test_every_kind_of_event_comes_back_as_it_was_and_in_order(tmp_path: Path, story) -> None:
    events = [
        story.started,
        *story.chapter(3),
        *story.chapter(4),
        Stopped("interrupted"),
        Finished(front=(story.id(3),), baselines={"base": story.id(0)}),
    ]
    with Journal.create(tmp_path / "journal.db", clock=lambda: 17.5) as journal:
        recorded = [stamped for event in events for stamped in journal.append(event)]
    with Journal.open(tmp_path / "journal.db", read_only=True) as reader:
        assert list(reader.replay()) == recorded
    assert recorded == [replace(event, time_s=17.5) for event in events]


def test_mappings_come_back_in_their_own_order(tmp_path: Path, story) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(story.started, story.asked(1))
        started, asked = journal.replay()
    assert list(started.experiment["experts"]) == ["math", "german"]
    assert list(asked.recipe.groups) == ["layers.0-1", "head"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_per_item_results_survive_to_the_last_bit(values: list[float]) -> None:
    scores = TaskScores(tuple(range(len(values))), tuple(values))
    event = Scored(ItemScores("c0ffee", {"sums": scores}))
    back = codec.decode("scored", codec.encode(event))
    assert repr(back) == repr(event)


def test_several_events_are_stored_together_or_not_at_all(tmp_path: Path, story) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(story.asked(0), story.told(0, 0))
        with pytest.raises(JournalError, match=r"already records told/0, which happens once"):
            journal.append(story.asked(1), story.told(1, 0))
        assert len(journal) == len(list(journal.replay())) == 2


@pytest.mark.parametrize("event", ["started", "asked", "finished"])
def test_what_happens_once_is_refused_the_second_time(tmp_path: Path, story, event: str) -> None:
    once = {
        "started": story.started,
        "asked": story.asked(0, attempt=1),
        "finished": Finished((), {}),
    }[event]
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(once)
        with pytest.raises(JournalError, match="which happens once in a run"):
            journal.append(once)


def test_the_first_of_two_results_wins_and_the_second_is_kept_as_a_duplicate(
    tmp_path: Path, story
) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        (first,) = journal.append(story.scored(1, worker="w0"))
        (late, failed) = journal.append(story.scored(1, worker="w1"), story.failed(1))
        assert isinstance(first, Scored)
        assert isinstance(late, Duplicate)
        assert isinstance(failed, Duplicate)
        assert late.result.worker == "w1"
        assert list(journal.replay()) == [first, late, failed]


def test_a_candidate_may_have_a_result_in_each_phase(tmp_path: Path, story) -> None:
    scored = story.scored(1)
    tested = replace(scored, scores=replace(scored.scores, phase="test"))
    with Journal.create(tmp_path / "journal.db") as journal:
        recorded = journal.append(scored, tested)
    assert not any(isinstance(event, Duplicate) for event in recorded)


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = Scored(ItemScores("c0ffee", {"sums": TaskScores((1,), (float("nan"),))}))
    with Journal.create(tmp_path / "journal.db") as journal:
        with pytest.raises(JournalError, match="numbers must be finite"):
            journal.append(broken)
        assert len(journal) == 0


def test_a_journal_is_not_made_over_another(tmp_path: Path) -> None:
    Journal.create(tmp_path / "journal.db").close()
    with pytest.raises(JournalError, match="exists already"):
        Journal.create(tmp_path / "journal.db")


def test_a_journal_half_made_by_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "journal.db.new").write_bytes(b"half a header")
    with Journal.create(tmp_path / "journal.db") as journal:
        assert len(journal) == 0


def test_a_path_with_spaces_and_letters_of_all_kinds_will_do(tmp_path: Path, story) -> None:
    directory = tmp_path / "größer als 100% ?&#"
    directory.mkdir()
    with Journal.create(directory / "journal.db") as journal:
        journal.append(*story.chapter(0))
    with Journal.open(directory / "journal.db", read_only=True) as reader:
        assert len(reader) == 4


def test_a_commit_waits_for_the_disk_and_readers_do_not_wait_for_it(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        pragmas = {
            name: journal._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "journal_mode")
        }
    assert pragmas == {"synchronous": 2, "journal_mode": "wal"}
