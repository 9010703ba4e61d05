"""The child runs of a search in MLflow: one for each of the best members of its front.

A child is found by the tag of its candidate before it is made, and only what it lacks is sent.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from evomerge.records import Comparison, Member
from evomerge.tracking.directions import has_mean
from evomerge.tracking.drawing import heatmap_svg
from evomerge.tracking.entities import member_params, member_values, missing_params
from evomerge.tracking.ranking import ranked
from evomerge.tracking.store import RUN_TAG, RunTags, only_one

CANDIDATE_TAG = "evomerge.candidate"
MOST = 100
"""Members of the front that get a child run: MLflow's own pages are slow beyond."""


def left_out(comparison: Comparison) -> str:
    """One line about the members without a child run; empty where each has one."""
    n_members = len(comparison.front)
    if n_members <= MOST:
        return ""
    return (
        f"The {MOST} best of {n_members} front members have a child run; all of them are in "
        "front.html, front.csv and front.json."
    )


class Children:
    """The child runs of one parent."""

    def __init__(self, client: MlflowClient, experiment: str, parent: Run) -> None:
        self._client = client
        self._experiment = experiment
        self._parent_id = parent.info.run_id
        self._run_id = parent.data.tags[RUN_TAG]

    def show(self, comparison: Comparison, time_ms: int) -> None:
        """Have one child for each of the best members, and none for anybody else.

        Args:
            comparison: holds the front.
            time_ms: the journal's time of it, milliseconds since the epoch: the same front sent
                twice is stored once.
        """
        wanted = ranked(comparison)[:MOST]
        known = self._known()
        for candidate in known.keys() - {candidate for candidate, _ in wanted}:
            self._client.delete_run(known[candidate].info.run_id)  # it has left the front
        digits = len(str(len(wanted)))
        for rank, (candidate, member) in enumerate(wanted, start=1):
            name = f"front {rank:0{digits}} {candidate}"
            # MLflow lists the youngest first: that shall be the best.
            child = known.get(candidate) or self._create(candidate, name, time_ms - rank)
            values = member_values(member, has_mean=has_mean(comparison))
            self._fill(child, name, member, values, time_ms)
        self._known()

    def _known(self) -> dict[str, Run]:
        """The children by candidate, after the removal of all but one of each.

        A server that is slow to answer may have made a child that was then asked for again.
        """
        found: dict[str, list[Run]] = {}
        rule = RunTags(self._run_id, "front").rule
        for run in self._client.search_runs([self._experiment], rule):
            found.setdefault(run.data.tags[CANDIDATE_TAG], []).append(run)
        return {candidate: only_one(self._client, runs) for candidate, runs in found.items()}

    def _create(self, candidate: str, name: str, start_ms: int) -> Run:
        tags = {
            **RunTags(self._run_id, "front").as_dict(),
            CANDIDATE_TAG: candidate,
            "mlflow.parentRunId": self._parent_id,
        }
        return self._client.create_run(
            self._experiment, start_time=start_ms, tags=tags, run_name=name
        )

    def _fill(
        self, child: Run, name: str, member: Member, values: Mapping[str, float], time_ms: int
    ) -> None:
        run_id, known = child.info.run_id, child.data.metrics
        metrics = [
            Metric(key, value, time_ms, 0)
            for key, value in values.items()
            if known.get(key) != value
        ]
        params = missing_params(member_params(member), child.data.params)
        if metrics or params:
            self._client.log_batch(run_id, metrics=metrics, params=params)
        if child.info.run_name != name:
            self._client.update_run(run_id, name=name)
        if child.info.status != "FINISHED":  # the last thing that is said of a child
            self._log_recipe(run_id, member)
            self._client.set_terminated(run_id, end_time=time_ms)

    def _log_recipe(self, run_id: str, member: Member) -> None:
        with tempfile.TemporaryDirectory(prefix="evomerge-") as folder:
            for name, text in _recipe_files(member):
                (Path(folder) / name).write_text(text, encoding="utf-8")
            self._client.log_artifacts(run_id, folder)


def _recipe_files(member: Member) -> Iterator[tuple[str, str]]:
    yield "recipe.json", json.dumps(member.recipe.to_json(), indent=2)
    yield "recipe.svg", heatmap_svg(member.recipe)
