"""A run's directory: where its files lie, who holds it, and opening its journal."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from evomerge.errors import InfrastructureError, UsageError
from evomerge.journal.journal import Journal
from evomerge.journal.lock import HOLDER_NAME, LOCK_NAME, RunLock
from evomerge.journal.state import RunState, fold
from evomerge.run.plan import Plan
from evomerge.run.record import Record

JOURNAL_NAME = "journal.db"
CONFIG_NAME = "config.yaml"
FRONT_JSON = "front.json"
FRONT_PAGE = "front.html"
FRONT_PICTURE = "front.png"


@contextmanager
def writing(run_dir: Path) -> Iterator[Record]:
    """Make the directory and its journal where they are missing, and hold them alone.

    When no run has started in a directory made here, it is removed again: an experiment that is
    refused leaves none behind.

    Raises:
        UsageError: it holds files of something else.
        RunLockedError: another process holds the directory.
        InfrastructureError: it cannot be made or written.
    """
    is_new = _make(run_dir)
    path = run_dir / JOURNAL_NAME
    if not path.exists():
        _refuse_foreign_files(run_dir)
    # Removed only by who holds the lock: the first to make a directory need not be the one to run.
    with RunLock(run_dir), ExitStack() as undo:
        if is_new:
            undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
        with Journal.open(path) if path.exists() else Journal.create(path) as journal:
            record = Record(journal)
            try:
                yield record
            finally:
                # Asked of the state: a disk that fails now must not look like an empty journal.
                if record.state.started is not None:
                    undo.pop_all()


def _make(run_dir: Path) -> bool:
    """Make the directory; whether it was missing."""
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            run_dir.mkdir()
            return True
        run_dir.mkdir(exist_ok=True)  # refuses a file of that name
    except OSError as error:
        raise InfrastructureError(
            f"cannot make the run directory {run_dir}: {error.strerror}; choose another with --out"
        ) from error
    return False


def _refuse_foreign_files(run_dir: Path) -> None:
    """Refuse a directory of something else, whose files a run could overwrite."""
    own = (LOCK_NAME, Path(HOLDER_NAME).stem, JOURNAL_NAME)
    foreign = sorted(path.name for path in run_dir.iterdir() if not path.name.startswith(own))
    if foreign:
        raise UsageError(
            f"{run_dir} holds no run (no {JOURNAL_NAME}) but {len(foreign)} other file(s), such as "
            f"{foreign[0]}; expected a new or empty directory: choose one with --out"
        )


def read_run(run_dir: Path) -> tuple[RunState, Plan]:
    """What the journal of a run says, read beside whoever writes it.

    Raises:
        UsageError: there is no run in the directory.
        JournalError: the journal cannot be read.
    """
    path = run_dir / JOURNAL_NAME
    if not path.is_file():
        raise UsageError(
            f"{run_dir} holds no run (no {JOURNAL_NAME}); expected the directory that "
            "`evomerge run` printed, such as runs/quickstart"
        )
    with Journal.open(path, read_only=True) as journal:
        state = fold(journal.replay())
    if state.started is None:
        raise UsageError(f"the run in {run_dir} has not started yet; wait or start it again")
    return state, Plan.from_json(state.started.experiment)
