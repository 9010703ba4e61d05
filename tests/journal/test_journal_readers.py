"""Reading a journal beside its writer, and where nothing can be written."""

import shutil
from pathlib import Path

import pytest

from evomerge.errors import JournalError
from evomerge.journal.journal import Journal


def test_a_reader_sees_what_the_writer_has_committed_so_far(tmp_path: Path, story) -> None:
    with (
        Journal.create(tmp_path / "journal.db") as writer,
        Journal.open(tmp_path / "journal.db", read_only=True) as reader,
    ):
        for number in range(5):
            recorded = writer.append(*story.chapter(number))
            assert list(reader.replay())[-4:] == list(recorded)


def test_a_replay_shows_the_moment_when_it_began(tmp_path: Path, story) -> None:
    with (
        Journal.create(tmp_path / "journal.db") as writer,
        Journal.open(tmp_path / "journal.db", read_only=True) as reader,
    ):
        writer.append(*story.chapter(0))
        replay = reader.replay()
        first = next(replay)
        writer.append(*story.chapter(1))
        assert [first, *replay] == list(writer.replay())[:4]


def test_a_reader_does_not_write(tmp_path: Path, story) -> None:
    Journal.create(tmp_path / "journal.db").close()
    with (
        Journal.open(tmp_path / "journal.db", read_only=True) as reader,
        pytest.raises(JournalError, match="readonly database"),
    ):
        reader.append(story.started)


def test_a_copy_of_a_finished_run_on_a_read_only_disk_can_be_read(
    tmp_path: Path, small_disk: Path, write_protect, story
) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        recorded = journal.append(*story.chapter(0))
    shutil.copy(tmp_path / "journal.db", small_disk)
    write_protect(small_disk)
    with Journal.open(small_disk / "journal.db", read_only=True) as reader:
        assert tuple(reader.replay()) == recorded


@pytest.mark.parametrize("names", [("journal.db-wal",), ("journal.db-wal", "journal.db-shm")])
def test_a_copy_of_a_running_one_on_a_read_only_disk_can_be_read(
    tmp_path: Path, small_disk: Path, write_protect, story, names: tuple[str, ...]
) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        recorded = journal.append(*story.chapter(0))
        for name in ("journal.db", *names):
            shutil.copy(tmp_path / name, small_disk)
    write_protect(small_disk)
    with Journal.open(small_disk / "journal.db", read_only=True) as reader:
        assert tuple(reader.replay()) == recorded


def test_reading_changes_no_byte_of_the_journal(tmp_path: Path, story) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(*story.chapter(0))
    before = (tmp_path / "journal.db").read_bytes()
    with Journal.open(tmp_path / "journal.db", read_only=True) as reader:
        list(reader.replay())
    assert (tmp_path / "journal.db").read_bytes() == before


def test_a_reader_goes_on_where_it_left_off(tmp_path: Path, story) -> None:
    with (
        Journal.create(tmp_path / "journal.db") as writer,
        Journal.open(tmp_path / "journal.db", read_only=True) as reader,
    ):
        writer.append(*story.chapter(0))
        n_read = len([*reader.replay()])
        assert [*reader.replay(after=n_read)] == []
        recorded = writer.append(*story.chapter(1))
        assert tuple(reader.replay(after=n_read)) == recorded


def test_what_a_reader_goes_on_with_is_checked(tmp_path: Path, story) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(*story.chapter(0), *story.chapter(1))
        journal._connection.execute("UPDATE events SET time_s = 0 WHERE sequence = 6")
        replay = journal.replay(after=4)
        next(replay)
        with pytest.raises(JournalError, match=r"event 6 .* is damaged"):
            next(replay)
