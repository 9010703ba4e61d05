"""`ui`: the MLflow UI of a run, on this machine's loopback address."""

import os
import subprocess
from pathlib import Path

from evomerge.errors import InfrastructureError, UsageError
from evomerge.run.directory import read_run
from evomerge.run.interrupt import Interrupted, interruptible
from evomerge.tracking.ui import mlflow_ui_command, mlflow_ui_environment


def serve_ui(run_dir: Path, port: int) -> int:
    """Serve until interrupted, by Ctrl-C or SIGTERM; the exit code is zero then.

    Raises:
        UsageError: the run was not tracked in MLflow.
        InfrastructureError: the server ended by itself.
    """
    _, plan = read_run(run_dir)
    if not plan.experiment.tracking.mlflow:
        raise UsageError(
            f"the run in {run_dir} has `tracking.mlflow: false`, so there is nothing to show; "
            f"open its front.html, or print it with `evomerge front {run_dir}`"
        )
    environment = {**os.environ, **mlflow_ui_environment()}
    command = mlflow_ui_command(run_dir, port)
    print(f"MLflow UI of {run_dir}: http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    with subprocess.Popen(command, env=environment) as server:  # noqa: S603 - our own command
        try:
            with interruptible():
                code = server.wait()
        except Interrupted:
            server.terminate()
            return 0
    raise InfrastructureError(
        f"the MLflow server ended with exit code {code}; its messages are above. If port {port} "
        "is taken, choose another with --port"
    )
