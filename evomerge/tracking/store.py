"""MLflow's store of a run: a database of its own, or the server that the user named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from evomerge.tracking.target import ARTIFACTS, DATABASE, RunFacts, local_uri

RUN_TAG = "evomerge.run_id"
ROLE_TAG = "evomerge.role"
# The pages for training runs: charts of metrics by step, a table of runs with their parameters.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


@dataclass(frozen=True)
class RunTags:
    """What MLflow's runs of one search are found by: the search, and a run's role in it."""

    run_id: str
    role: Literal["search", "front"]

    def as_dict(self) -> dict[str, str]:
        """The tags of a new run."""
        return {RUN_TAG: self.run_id, ROLE_TAG: self.role, "mlflow.source.name": "evomerge"}

    @property
    def rule(self) -> str:
        """The filter that finds such runs."""
        return f"tags.`{RUN_TAG}` = '{self.run_id}' and tags.`{ROLE_TAG}` = '{self.role}'"


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
    made = client.create_experiment(facts.experiment, artifact_location=place, tags=_KIND)
    return client, str(made)


def only_one(client: MlflowClient, runs: Sequence[Run]) -> Run:
    """The first of runs that stand for the same thing; the others are deleted.

    Making a run cannot be repeated without harm: when the answer is lost, there may be two.
    """
    first, *others = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
    for run in others:
        client.delete_run(run.info.run_id)
    return first


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
