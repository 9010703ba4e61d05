"""How much of a run has reached MLflow, and who sends it. Imports nothing heavy."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.journal.lock import Holder
from evomerge.tracking.tracker import Status

CURSOR_NAME = "mlflow.cursor.json"
LOCK_NAME = "mlflow.lock"
SENDER_NAME = "mlflow.sender.json"


@dataclass(frozen=True)
class Cursor:
    """What one parent run of MLflow holds; kept in the run directory.

    It saves work and decides nothing: without it, or with an old one, everything is sent again.

    Args:
        parent_id: MLflow's id of the parent run.
        n_shown: how many outcomes, in the order of the tells, are there as metrics.
        ending: how the run ended, once the front and the failures of that moment are there.
        trouble: why MLflow takes no more at the moment.
    """

    parent_id: str = ""
    n_shown: int = 0
    ending: Status | Literal[""] = ""
    trouble: str = ""

    @classmethod
    def read(cls, run_dir: Path) -> "Cursor":
        """The cursor of a run; an empty one where there is none that can be read."""
        try:
            return cls(**json.loads((run_dir / CURSOR_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, run_dir: Path) -> None:
        """Replace the cursor of a run; without a word where the disk refuses: see above."""
        with suppress(OSError):
            _replace(run_dir / CURSOR_NAME, asdict(self))


@contextmanager
def claim(run_dir: Path, *, patient: bool) -> Iterator[None]:
    """Be the only process that sends this run to MLflow.

    Args:
        patient: whether to wait until another one is done.

    Raises:
        RunLockedError: another process does; the message names it.
        InfrastructureError: the directory cannot be written.
    """
    lock = FileLock(run_dir / LOCK_NAME)
    try:
        lock.acquire(timeout=-1 if patient else 0.2)
    except Timeout as error:
        raise RunLockedError(
            f"{_sender(run_dir)} sends {run_dir} to MLflow already, one process at a time may; "
            "what it sends is the same: wait for it, or stop it and try again"
        ) from error
    except OSError as error:
        raise InfrastructureError(
            f"cannot lock {run_dir / LOCK_NAME}: {error}; expected a directory on a local disk "
            "that this user may write to"
        ) from error
    try:
        with suppress(OSError):  # the lock is held already: the announcement may fail
            _replace(run_dir / SENDER_NAME, asdict(Holder.me()))
        yield
    finally:
        with suppress(OSError):
            (run_dir / SENDER_NAME).unlink()
        lock.release()


def _sender(run_dir: Path) -> str:
    try:
        text = (run_dir / SENDER_NAME).read_text(encoding="utf-8")
        return str(Holder(**json.loads(text)))
    except (OSError, ValueError, TypeError):
        return "another process"


def _replace(path: Path, values: dict[str, object]) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(values), encoding="utf-8")
    draft.replace(path)
