"""The MLflow UI of a finished run, and what is where in it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient

from evomerge.tracking.ui import mlflow_ui_command, mlflow_ui_environment
from tests.tracking.server import free_port, wait_for


class Ui:
    """Addresses of pages, and the runs that they show."""

    def __init__(self, address: str) -> None:
        client = MlflowClient(address)
        self.address = address
        self.experiment = client.get_experiment_by_name("evomerge").experiment_id
        (self.parent,) = client.search_runs([self.experiment], "tags.`evomerge.role` = 'search'")
        self.children = client.search_runs([self.experiment], "tags.`evomerge.role` = 'front'")

    def run_page(self, tab: str = "") -> str:
        """The address of a page of the parent."""
        run_id = self.parent.info.run_id
        return f"{self.address}/#/experiments/{self.experiment}/runs/{run_id}{tab}"

    def compare_page(self) -> str:
        """The address of the page that compares the front."""
        ids = [child.info.run_id for child in self.children]
        runs, experiments = (quote(json.dumps(values)) for values in (ids, [self.experiment]))
        return f"{self.address}/#/compare-runs?runs={runs}&experiments={experiments}"


@contextmanager
def serving(run_dir: Path) -> Iterator[Ui]:
    """The UI of a run, as `evomerge ui` serves it."""
    port = free_port()
    environment = {**os.environ, **mlflow_ui_environment()}
    command = mlflow_ui_command(run_dir, port)
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    try:
        yield Ui(wait_for(f"http://127.0.0.1:{port}"))
    finally:
        server.terminate()
        server.wait(timeout=60)
