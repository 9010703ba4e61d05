"""One process at a time in a run directory.

The lock is the operating system's (flock): it ends with its holder, however that one dies. A small
file beside it says who holds it; it serves the message, never the decision.
"""

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from evomerge.errors import InfrastructureError, RunLockedError

LOCK_NAME = "run.lock"
HOLDER_NAME = "run.holder.json"


@dataclass(frozen=True)
class Holder:
    """Who holds a run directory: machine, process, and since when (ISO 8601, local time)."""

    host: str
    pid: int
    since: str

    @classmethod
    def me(cls) -> "Holder":
        """This process, now."""
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), since)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class RunLock:
    """Holds a run directory while open as a context manager.

    Raises on entry:
        RunLockedError: another live process holds it; the message names the holder.
        InfrastructureError: the lock file cannot be made.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._lock = FileLock(run_dir / LOCK_NAME)

    def __enter__(self) -> "RunLock":
        try:
            # Not zero: a reader that asks who holds the lock holds it for a moment (`held_by`).
            self._lock.acquire(timeout=0.2)
        except Timeout as error:
            raise RunLockedError(self._refusal()) from error
        except OSError as error:
            raise InfrastructureError(
                f"cannot lock the run directory {self.run_dir}: {error}; expected a directory "
                "on a local disk that this user may write to"
            ) from error
        self._announce()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._holder_path.unlink()
        self._lock.release()

    @property
    def _holder_path(self) -> Path:
        return self.run_dir / HOLDER_NAME

    def _announce(self) -> None:
        draft = self._holder_path.with_suffix(".new")
        # The lock is held already: a disk too full for the announcement must not undo it.
        with suppress(OSError):
            draft.write_text(json.dumps(asdict(Holder.me())), encoding="utf-8")
            draft.replace(self._holder_path)

    def _refusal(self) -> str:
        holder = read_holder(self.run_dir)
        who = str(holder) if holder else "a process that has not said its name"
        return (
            f"the run directory {self.run_dir} is held by {who}; one process at a time may run "
            "it: wait for that one or stop it, then try again (`evomerge status` only reads)"
        )


def read_holder(run_dir: Path) -> Holder | None:
    """Who last announced to hold the directory; None when nobody did or it cannot be read."""
    try:
        return Holder(**json.loads((run_dir / HOLDER_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def held_by(run_dir: Path) -> Holder | None:
    """The live process that holds the directory; None when nobody does.

    Asks the operating system, not the announcement, which outlives a killed holder.
    """
    lock = FileLock(run_dir / LOCK_NAME)
    if not (run_dir / LOCK_NAME).exists():
        return None
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return read_holder(run_dir)
    except OSError:
        return None
    lock.release()
    return None
