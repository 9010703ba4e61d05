"""`sync`: follow the journal of a run, and send MLflow what it does not have yet.

The journal is the outbox and this is its one reader on MLflow's behalf, a process of its own. It
may be killed at any line and started again: everything that it sends may be sent twice.
"""

import logging
import math
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evomerge.errors import InfrastructureError, RunLockedError
from evomerge.journal.journal import Journal
from evomerge.journal.lock import held_by
from evomerge.run.directory import JOURNAL_NAME, read_run
from evomerge.run.following import Follower
from evomerge.tracking.cursor import Cursor, claim
from evomerge.tracking.target import (
    mlflow_environment,
    tracking_uri,
    without_credentials,
)
from evomerge.tracking.tracker import Status

if TYPE_CHECKING:
    from evomerge.tracking.projection import Projection

POLL_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Between two attempts while MLflow is in trouble; the first come quickly."""
LINGER_S = 600.0
"""How long a follower goes on trying after the run has ended."""

log = logging.getLogger("evomerge.sync")


def sync_run(run_dir: Path) -> None:
    """Send what MLflow lacks, once; what is already being sent by another process is left to it.

    Raises:
        UsageError: there is no run in the directory.
        InfrastructureError: MLflow cannot be reached, or refuses.
    """
    _, plan = read_run(run_dir)
    try:
        with claim(run_dir, patient=False), _open(run_dir) as journal:
            run, sender = Follower(journal, plan), Sender(run_dir)
            ending = run.read_on(is_held=held_by(run_dir) is not None)
            trouble = sender.try_to_send(run, ending)
    except RunLockedError as error:
        print(error)
        return
    if trouble:
        raise InfrastructureError(_unreachable(run_dir, trouble))
    print(f"MLflow at {_shown(run_dir)} has everything that the journal of {run_dir} tells")


def follow_run(run_dir: Path) -> None:
    """Be the process that a run starts: follow it in the background, with a log to be shown.

    Raises:
        UsageError: there is no run in the directory.
        InfrastructureError: MLflow could not be reached in time, or refused.
    """
    os.nice(5)  # the search comes first
    handler = logging.StreamHandler()
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    follow(run_dir)


def follow(run_dir: Path) -> None:
    """Send what happens until the run has ended; then what is left, for ten minutes at most.

    It leaves earlier when the run is resumed: the new stretch has a follower of its own, which
    waits for this one.

    Raises:
        UsageError: there is no run in the directory.
        InfrastructureError: MLflow could not be reached in time, or refused.
    """
    _, plan = read_run(run_dir)
    holder = held_by(run_dir)
    with claim(run_dir, patient=True), _open(run_dir) as journal:
        run, sender = Follower(journal, plan), Sender(run_dir)
        pause_s, give_up_at = POLL_S, math.inf
        while (now := held_by(run_dir)) in (None, holder):
            # Asked before: what a run wrote before it went away is read after.
            ending = run.read_on(is_held=now is not None)
            trouble = sender.try_to_send(run, ending)
            if ending and not trouble:
                log.info("MLflow at %s has everything of the run: %s", _shown(run_dir), ending)
                return
            if ending:
                give_up_at = min(give_up_at, time.monotonic() + LINGER_S)
            if time.monotonic() >= give_up_at:
                raise InfrastructureError(_unreachable(run_dir, trouble))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if trouble else POLL_S
            time.sleep(pause_s)


class Sender:
    """What has been sent of a run, and the connection that the rest goes through."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._cursor = replace(Cursor.read(run_dir), ending="", trouble="")
        self._projection: Projection | None = None

    def try_to_send(self, run: Follower, ending: Status | None) -> str:
        """Send what is new; why that did not work, or nothing where it did."""
        try:
            self._send(run, ending)
        except Exception as error:  # a server may fail in every way there is
            trouble = without_credentials(f"{type(error).__name__}: {error}"[:500])
            if trouble != self._cursor.trouble:
                log.warning("MLflow at %s takes nothing: %s", _shown(self._run_dir), trouble)
            self._move(trouble=trouble)
        return self._cursor.trouble

    def _send(self, run: Follower, ending: Status | None) -> None:
        projection = self._projection or self._connect(run, ending)
        new = run.progress[self._cursor.n_shown :]
        if new:
            projection.show(new)
        if ending:
            time_s = run.state.time_s
            projection.conclude(run.comparison(), run.failures(), time_s)
            projection.close(ending, time_s)
        if new or ending or self._cursor.trouble:
            self._move(n_shown=len(run.progress), ending=ending or "", trouble="")

    def _connect(self, run: Follower, ending: Status | None) -> "Projection":
        os.environ.update(mlflow_environment())
        from evomerge.tracking.projection import Projection  # imports MLflow: takes seconds

        projection = Projection(run.facts(self._run_dir), tracking_uri(self._run_dir))
        if projection.parent_id != self._cursor.parent_id:
            self._cursor = Cursor(projection.parent_id)  # another server, or it has lost the run
        if not ending:
            projection.open()
        self._move(trouble="")
        self._projection = projection
        return projection

    def _move(self, **changes: Any) -> None:
        self._cursor = replace(self._cursor, **changes)
        self._cursor.write(self._run_dir)


class _Discreet(logging.Formatter):
    """Leaves passwords out of whatever a library logs."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


def _open(run_dir: Path) -> Journal:
    return Journal.open(run_dir / JOURNAL_NAME, read_only=True)


def _shown(run_dir: Path) -> str:
    return without_credentials(tracking_uri(run_dir))


def _unreachable(run_dir: Path, trouble: str) -> str:
    return (
        f"MLflow at {_shown(run_dir)} does not have everything of {run_dir}: {trouble}; nothing is "
        f"lost: once it answers, `evomerge sync {shlex.quote(str(run_dir))}` sends the rest"
    )
