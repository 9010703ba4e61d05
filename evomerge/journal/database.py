"""The file under the journal: its schema, how it is opened, and what its errors mean.

SQLite in WAL mode with `synchronous=FULL`: a commit returns when the disk has it, readers do not
stop the writer, and a killed writer leaves at worst an uncommitted tail that SQLite drops.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from evomerge.errors import JournalError

APPLICATION_ID = 0x65766F6D  # "evom", so that `file` and we can tell a journal from other databases
SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 5.0
ALMOST_FULL_BYTES = 1 << 20
FIRST_DIGEST = "0" * 64
"""What the first event's digest is chained to."""

# `digest` chains every event to the one before it and `head` holds the last: SQLite's own checks
# see a broken page, these see a changed, missing or moved event.
SCHEMA = """
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time_s REAL NOT NULL,
    kind TEXT NOT NULL,
    key TEXT UNIQUE,
    payload TEXT NOT NULL,
    digest TEXT NOT NULL
) STRICT;
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1), n_events INTEGER NOT NULL, digest TEXT NOT NULL
) STRICT;
"""


def create_file(path: Path) -> None:
    """Make an empty journal at `path`, complete or not at all.

    It is built under another name and renamed, so that a kill never leaves half a journal.

    Raises:
        JournalError: something is there already, or the directory cannot be written.
    """
    if path.exists():
        raise JournalError(
            f"{path} exists already, expected a directory without a journal; "
            "continue that run with `evomerge resume`, or choose another directory"
        )
    draft = path.with_name(path.name + ".new")
    with explained(path):
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            _lay_out(connection)
        draft.rename(path)
        _sync_directory(path.parent)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """A checked connection that commits durably.

    Raises:
        JournalError: there is no journal, it is damaged, newer than us, or cannot be written.
    """
    _require_file(path)
    with explained(path):
        connection = _connect(path, "rw")
        try:
            check(connection, path)
            connection.execute("PRAGMA synchronous = FULL")
            # An update that changes nothing finds out now, not in mid-run, whether we may write.
            connection.execute("UPDATE head SET id = 1")
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path, scratch: Path) -> sqlite3.Connection:
    """A checked connection that never writes, beside a live writer or on a read-only disk.

    A database in WAL mode needs its `-shm` file; where that can neither be opened nor made (a copy
    on a read-only disk), the journal is copied to the empty directory `scratch` and read there.

    Raises:
        JournalError: there is no journal, it is damaged, newer than us, or cannot be read.
    """
    _require_file(path)
    with explained(path):
        try:
            return _open_checked(path)
        except sqlite3.OperationalError as error:
            if not _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copyfile(source, scratch / source.name)
        return _open_checked(scratch / path.name)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that this is a journal, that we know its schema, and that its pages are sound.

    Raises:
        JournalError: it is not; the message says which.
    """
    application_id, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    if application_id != APPLICATION_ID:
        raise JournalError(
            f"{path} is a SQLite database but not a journal of evomerge "
            f"(application id {application_id:#x}, expected {APPLICATION_ID:#x}); "
            "give the directory of a run"
        )
    if version != SCHEMA_VERSION:
        raise JournalError(
            f"{path} has journal schema {version}, this evomerge reads schema {SCHEMA_VERSION}; "
            "use the version of evomerge that wrote it, or upgrade"
        )
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise JournalError(_damaged(path, verdict))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into JournalErrors that say what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise JournalError(explain(path, error)) from error


def explain(path: Path, error: sqlite3.Error | OSError) -> str:
    """What an error about the journal means, and the next step."""
    name = _name(error)
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    if name == "SQLITE_FULL" or (_is_disk_error(error) and free < ALMOST_FULL_BYTES):
        return (
            f"cannot write {path}: the disk is full ({free} bytes free); every event before this "
            "is safe: free some space, then continue with `evomerge resume`"
        )
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT") or name.startswith("SQLITE_CORRUPT_"):
        return _damaged(path, str(error))
    if name.startswith("SQLITE_BUSY"):
        return (
            f"cannot write {path}: another process has been writing to it for {BUSY_TIMEOUT_S:g} "
            "seconds; stop that process, then try again"
        )
    return (
        f"cannot open or write {path}: {error}; expected a directory on a local disk that this "
        "user may write to: check the permissions and that the disk is not mounted read-only"
    )


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.executescript(SCHEMA)
    connection.execute("INSERT INTO head VALUES (1, 0, ?)", (FIRST_DIGEST,))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _open_checked(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "ro")
    try:
        check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise JournalError(
            f"there is no journal at {path}; expected the directory of a run that "
            "`evomerge run` has made"
        )


def _damaged(path: Path, detail: str) -> str:
    return (
        f"{path} is damaged or not a journal: {detail}; "
        "restore the run directory from a copy, or start a new run in another directory"
    )


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _is_disk_error(error: BaseException) -> bool:
    return isinstance(error, OSError) or _name(error).startswith(
        ("SQLITE_IOERR", "SQLITE_CANTOPEN")
    )


def _sync_directory(directory: Path) -> None:
    # The rename is durable only when the directory that holds the name is.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def scratch_directory() -> tempfile.TemporaryDirectory[str]:
    """A private directory for a reader's copy; removed with its owner."""
    return tempfile.TemporaryDirectory(prefix="evomerge-journal-")
