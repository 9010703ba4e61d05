"""A journal that is damaged, foreign, out of reach, or on a full disk."""

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evomerge.errors import JournalError
from evomerge.journal.events import Event
from evomerge.journal.journal import Journal, chained


@pytest.fixture
def closed_journal(tmp_path: Path, story) -> Path:
    path = tmp_path / "journal.db"
    with Journal.create(path) as journal:
        for number in range(30):
            journal.append(*story.chapter(number))
    return path


def read(path: Path) -> list[Event]:
    with Journal.open(path, read_only=True) as reader:
        return list(reader.replay())


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal at .*journal\.db; expected the directory"):
        Journal.open(tmp_path / "journal.db")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "journal.db"
    path.write_text("<html>502 Bad Gateway</html>" * 200)
    with pytest.raises(JournalError, match=r"journal\.db is damaged or not a journal"):
        Journal.open(path, read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
def test_the_database_of_another_program_is_refused(tmp_path: Path, read_only: bool) -> None:
    change(tmp_path / "mlflow.db", "CREATE TABLE runs (id INTEGER)")
    with pytest.raises(JournalError, match="SQLite database but not a journal of evomerge"):
        Journal.open(tmp_path / "mlflow.db", read_only=read_only)


@pytest.mark.parametrize("version", [0, 99])
def test_an_unknown_schema_is_refused_with_its_version(closed_journal: Path, version: int) -> None:
    change(closed_journal, f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=f"has journal schema {version}, this evomerge reads"):
        Journal.open(closed_journal)


def test_an_event_of_a_kind_from_the_future_is_refused(closed_journal: Path) -> None:
    with closing(sqlite3.connect(closed_journal)) as connection:
        head = connection.execute("SELECT n_events, digest FROM head").fetchone()
    row = (head[0] + 1, 0.0, "dreamt", None, "{}")
    digest = chained(head[1], row)
    with closing(sqlite3.connect(closed_journal)) as connection:
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, digest))
        connection.execute("UPDATE head SET n_events = ?, digest = ?", (row[0], digest))
        connection.commit()
    with pytest.raises(JournalError, match=r"event 121 .* \(dreamt\) cannot be understood"):
        read(closed_journal)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = replace(payload, '1.0', '0.9') WHERE sequence = 51",
        "UPDATE events SET time_s = time_s + 1 WHERE sequence = 51",
        "UPDATE events SET sequence = 1000 WHERE sequence = 51",
        "DELETE FROM events WHERE sequence = 51",
    ],
)
def test_a_changed_event_is_found_and_those_before_it_are_read(
    closed_journal: Path, statement: str
) -> None:
    intact = read(closed_journal)
    change(closed_journal, statement)
    with pytest.raises(JournalError, match=r"event 51 of .* is damaged or missing; the 50 events"):
        read(closed_journal)
    with Journal.open(closed_journal) as journal:
        replay = journal.replay()
        assert [next(replay) for _ in range(50)] == intact[:50]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM events WHERE sequence = 120", "DELETE FROM head"]
)
def test_a_lost_tail_is_found(closed_journal: Path, statement: str) -> None:
    change(closed_journal, statement)
    with pytest.raises(JournalError, match="is damaged or missing"):
        read(closed_journal)


def test_a_journal_cut_at_any_hundredth_is_found_out(closed_journal: Path, tmp_path: Path) -> None:
    content = closed_journal.read_bytes()
    for percent in range(100):
        cut = tmp_path / "cut.db"
        cut.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(JournalError):
            read(cut)


def test_flipped_bits_are_found_out_or_harmless(closed_journal: Path, tmp_path: Path) -> None:
    intact, content = read(closed_journal), closed_journal.read_bytes()
    rng = np.random.default_rng(0)
    n_found = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.db").write_bytes(damaged)
        try:
            assert read(tmp_path / "flipped.db") == intact
        except JournalError:
            n_found += 1
    assert n_found > 0


def test_a_torn_log_loses_at_most_its_tail(tmp_path: Path, story) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        for number in range(5):
            journal.append(*story.chapter(number))
        intact = list(journal.replay())
        main, log = (Path(f"{tmp_path}/journal.db{suffix}").read_bytes() for suffix in ("", "-wal"))
    rng = np.random.default_rng(0)
    for percent in range(0, 100, 2):
        torn = bytearray(log[: len(log) * percent // 100])
        if torn:
            torn[rng.integers(len(torn))] ^= 1 << int(rng.integers(8))
        (tmp_path / "torn.db").write_bytes(main)
        (tmp_path / "torn.db-wal").write_bytes(torn)
        (tmp_path / "torn.db-shm").unlink(missing_ok=True)
        events = read(tmp_path / "torn.db")
        assert events == intact[: len(events)]


def append_for_ever(journal: Journal, story) -> None:
    for number in itertools.count():
        journal.append(*story.chapter(number))


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    small_disk: Path, story
) -> None:
    with Journal.create(small_disk / "journal.db") as journal:
        journal.append(story.started)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 256 * 1024))
        with pytest.raises(JournalError, match=r"the disk is full .* every event before this is"):
            append_for_ever(journal, story)
        recorded = len(journal)
        assert len(list(journal.replay())) == recorded
        ballast.unlink()
        journal.append(*story.chapter(recorded))
        assert len(list(journal.replay())) == recorded + 4


def test_a_journal_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(JournalError, match="the disk is full"):
        Journal.create(small_disk / "journal.db")
    (small_disk / "ballast").unlink()
    Journal.create(small_disk / "journal.db").close()


def test_a_read_only_directory_is_named(small_disk: Path, write_protect) -> None:
    Journal.create(small_disk / "journal.db").close()
    write_protect(small_disk)
    with pytest.raises(JournalError, match=r"journal\.db: .*not mounted read-only"):
        Journal.open(small_disk / "journal.db")
    with pytest.raises(JournalError, match=r"other\.db: .*not mounted read-only"):
        Journal.create(small_disk / "other.db")
