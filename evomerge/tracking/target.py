"""Which MLflow a run is projected to, and how it behaves. Imports nothing heavy."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
EXPERIMENT = "evomerge"

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Whoever sends tries again by itself: a request that MLflow repeats could be carried out twice.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}


@dataclass(frozen=True)
class RunFacts:
    """What MLflow is told about a run from the start.

    Args:
        run_id: the run's own identity, the same when it is resumed.
        title: the name that the run shows.
        run_dir: where the database and the artifacts go unless `MLFLOW_TRACKING_URI` is set.
        config: the resolved experiment in plain values.
        start_s: when it started, seconds since the epoch.
        experiment: the MLflow experiment that holds the run.
    """

    run_id: str
    title: str
    run_dir: Path
    config: Mapping[str, Any]
    start_s: float
    experiment: str = EXPERIMENT


def local_uri(run_dir: Path) -> str:
    """The URI of the database in the run's directory."""
    return f"sqlite:///{run_dir.resolve() / DATABASE}"


def tracking_uri(run_dir: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else the database in the run's directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(run_dir)


def without_credentials(text: str) -> str:
    """A text as it may be shown: user and password left out of every URI in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


def mlflow_environment() -> dict[str, str]:
    """Environment variables that keep MLflow quiet, brief and at home, except those set already."""
    return {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
