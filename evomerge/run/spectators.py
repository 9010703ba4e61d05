"""Who watches a run: the terminal, and a process that sends it to MLflow where that is wanted.

That process reads the journal (`evomerge sync --follow`, `run/projecting.py`). The search tells it
nothing, shares no library with it, and does not wait for it before its own end.
"""

import logging
import shlex
import subprocess
import sys
import time
from pathlib import Path

from evomerge.records import Progress
from evomerge.run.plan import Plan
from evomerge.tracking.cursor import Cursor
from evomerge.tracking.live import live_view
from evomerge.tracking.target import tracking_uri, without_credentials
from evomerge.tracking.tracker import SafeTracker, Status, Tracker

LOG_NAME = "mlflow.log"
PATIENCE_S = {"finished": 120.0, "killed": 5.0, "failed": 0.0}
"""How long a run waits for its projector at the end."""
PATIENCE_IN_TROUBLE_S = 5.0
"""The same, from the moment when MLflow is in trouble."""

log = logging.getLogger(__name__)


def open_trackers(run_dir: Path, plan: Plan) -> SafeTracker:
    """The run's trackers; one that cannot be had is told and left out."""
    trackers: list[Tracker] = [live_view(run_dir.name)]
    if plan.experiment.tracking.mlflow:
        trackers += _projectors(run_dir)
    return SafeTracker(trackers)


def send_the_rest(run_dir: Path, plan: Plan) -> None:
    """Send what MLflow does not have yet of a finished run, and wait for it."""
    if plan.experiment.tracking.mlflow and Cursor.read(run_dir).ending != "finished":
        SafeTracker(_projectors(run_dir)).close("finished")


def _projectors(run_dir: Path) -> list[Tracker]:
    try:
        return [Projector(run_dir)]
    except OSError as error:
        log.warning(
            "the process that sends the run to MLflow did not start (%s); the search goes on "
            "without it: `evomerge sync %s` sends everything",
            error,
            shlex.quote(str(run_dir)),
        )
        return []


class Projector:
    """The process that follows a run's journal and sends it to MLflow, seen from the run."""

    def __init__(self, run_dir: Path) -> None:
        """Start it.

        Raises:
            OSError: there is no room for its log, or for another process.
        """
        self._run_dir = run_dir
        self._process = _start(run_dir)

    def show(self, progress: Progress) -> None:
        """Nothing: it reads the journal."""

    def note(self, message: str) -> None:
        """Nothing: a note is for the moment."""

    def close(self, status: Status) -> None:
        """Wait while it makes headway, two minutes at most; say so when it lags.

        After an interrupt five seconds must do. What is left then it sends by itself.
        """
        if self._process.poll() is not None and self._cursor.ending != status:
            self._process = _start(self._run_dir)  # somebody has killed it
        patience_s = PATIENCE_S[status]
        while self._process.poll() is None and patience_s > 0:
            time.sleep(0.1)
            patience_s -= 0.1
            if self._cursor.trouble:
                patience_s = min(patience_s, PATIENCE_IN_TROUBLE_S)
        if status == "finished" and self._cursor.ending != "finished":
            self._tell_lag()

    @property
    def _cursor(self) -> Cursor:
        return Cursor.read(self._run_dir)

    def _tell_lag(self) -> None:
        log.warning(
            "MLflow at %s lags behind (%s); the journal is complete, and the rest is sent as soon "
            "as it answers, for ten minutes; after that by `evomerge sync %s`",
            without_credentials(tracking_uri(self._run_dir)),
            self._cursor.trouble or f"see {LOG_NAME}",
            shlex.quote(str(self._run_dir)),
        )


def _start(run_dir: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "evomerge", "sync", str(run_dir), "--follow"]
    with (run_dir / LOG_NAME).open("ab") as output:
        # A session of its own: Ctrl-C on the terminal is for the search.
        return subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
