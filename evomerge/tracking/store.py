"""MLflow's store of a run: a database of its own, or the server that the user named."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment

from evomerge.tracking.target import ARTIFACTS, DATABASE, RunFacts, local_uri


def open_store(uri: str, facts: RunFacts) -> tuple[MlflowClient, str]:
    """A client and the id of the run's experiment, made where it is missing."""
    is_local = uri == local_uri(facts.run_dir)
    if is_local:
        _make_database(facts.run_dir)
    client = MlflowClient(uri)
    found: Experiment | None = client.get_experiment_by_name(facts.experiment)
    if found is not None:
        return client, str(found.experiment_id)
    place = (facts.run_dir.resolve() / ARTIFACTS).as_uri() if is_local else None
    return client, str(client.create_experiment(facts.experiment, artifact_location=place))


def _make_database(run_dir: Path) -> None:
    """Make the tables beside their place, then move them there.

    A process that is killed while MLflow migrates its tables leaves a database that MLflow cannot
    open again.
    """
    database = run_dir.resolve() / DATABASE
    if database.exists():
        return
    draft = database.with_suffix(".new")
    draft.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
    draft.replace(database)
