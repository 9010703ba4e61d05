"""The MLflow UI of a run, on this machine only."""

import sys
from pathlib import Path

from evomerge.errors import UsageError
from evomerge.tracking.target import DATABASE, local_uri, mlflow_environment

HOST = "127.0.0.1"


def mlflow_ui_command(run_dir: Path, port: int = 5000) -> list[str]:
    """The command that serves the run's MLflow database on the loopback interface.

    Raises:
        UsageError: the run directory holds no MLflow database.
    """
    if not (run_dir / DATABASE).is_file():
        raise UsageError(
            f"{run_dir} holds no {DATABASE}, expected the record of a run that was tracked there; "
            "did the run have `tracking: {mlflow: true}`, or was MLFLOW_TRACKING_URI set to "
            "another place? Then open that one"
        )
    store = ["--backend-store-uri", local_uri(run_dir)]
    address = ["--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *store, *address]


def mlflow_ui_environment() -> dict[str, str]:
    """What to add to the environment of that command: no telemetry, no job processes."""
    return {**mlflow_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
