"""The MLflow side of a run: one parent, one child for each front member, found again by tags.

Everything here is synchronous and may be repeated: a metric carries the event's own time, a
parameter that is there is not sent again, a child is looked up by its candidate before it is made.
Importing this module imports MLflow, which takes seconds.
"""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence

from mlflow.entities import Metric, Param, Run
from ruamel.yaml import YAML

from evomerge.records import Comparison, Estimate, Member, Progress
from evomerge.tracking.flatten import flatten
from evomerge.tracking.names import sanitise
from evomerge.tracking.page import front_page
from evomerge.tracking.still import heatmap_still
from evomerge.tracking.store import open_store
from evomerge.tracking.table import mean_estimate, ranked, to_csv, to_json, to_markdown
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import Status

RUN_TAG = "evomerge.run_id"
ROLE_TAG = "evomerge.role"
CANDIDATE_TAG = "evomerge.candidate"
_STATUS = {"finished": "FINISHED", "killed": "KILLED", "failed": "FAILED"}
# MLflow takes at most 1000 metrics and 100 parameters at once.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_NOTE_LIMIT = 8000


class Projection:
    """A run as MLflow shows it."""

    def __init__(self, facts: RunFacts, uri: str) -> None:
        """Open the store, and the parent run: the one with this run's tag, or a new one."""
        self._facts = facts
        self._client, self._experiment = open_store(uri, facts)
        self._parent = self._parent_run()
        self._log_config()

    def show(self, states: Sequence[Progress]) -> None:
        """Send the metrics of several moments, one step for each evaluation done."""
        metrics = [metric for state in states for metric in _progress_metrics(state)]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            batch = metrics[start : start + _METRICS_AT_ONCE]
            self._client.log_batch(self._parent.info.run_id, metrics=batch)

    def conclude(self, comparison: Comparison) -> None:
        """Send the front as page, table and JSON, and one child for each of its members."""
        parent_id = self._parent.info.run_id
        self._client.log_text(parent_id, front_page(comparison, self._facts.title), "front.html")
        self._client.log_text(parent_id, to_csv(comparison), "front.csv")
        self._client.log_dict(parent_id, to_json(comparison), "front.json")
        note = to_markdown(comparison)[:_NOTE_LIMIT]
        self._client.set_tag(parent_id, "mlflow.note.content", note)
        children = self._children()
        for rank, (name, member) in enumerate(ranked(comparison), start=1):
            child = children.pop(name, None) or self._new_child(rank, name)
            self._log_child(child, member)
        for former in children.values():  # members of a front that has moved on
            self._client.delete_run(former.info.run_id)

    def close(self, status: Status) -> None:
        """Close the parent with MLflow's word for `status`."""
        self._client.set_terminated(self._parent.info.run_id, status=_STATUS[status])

    def _runs(self, role: str) -> list[Run]:
        rule = f"tags.`{RUN_TAG}` = '{self._facts.run_id}' and tags.`{ROLE_TAG}` = '{role}'"
        return list(self._client.search_runs([self._experiment], rule))

    def _parent_run(self) -> Run:
        found = self._runs("search")
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0]
        tags = {RUN_TAG: self._facts.run_id, ROLE_TAG: "search", "mlflow.source.name": "evomerge"}
        return self._client.create_run(self._experiment, tags=tags, run_name=self._facts.title)

    def _log_config(self) -> None:
        run_id, known = self._parent.info.run_id, self._parent.data.params
        texts = flatten(self._facts.config)
        names = sanitise(texts)
        params = [Param(names[key], text) for key, text in texts.items() if names[key] not in known]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_AT_ONCE])
        self._client.log_text(run_id, _yaml(self._facts.config), "config.yaml")

    def _children(self) -> dict[str, Run]:
        return {run.data.tags[CANDIDATE_TAG]: run for run in self._runs("front")}

    def _new_child(self, rank: int, candidate: str) -> Run:
        tags = {
            RUN_TAG: self._facts.run_id,
            ROLE_TAG: "front",
            CANDIDATE_TAG: candidate,
            "mlflow.parentRunId": self._parent.info.run_id,
            "mlflow.source.name": "evomerge",
        }
        name = f"front {rank:02} {candidate}"
        return self._client.create_run(self._experiment, tags=tags, run_name=name)

    def _log_child(self, child: Run, member: Member) -> None:
        run_id = child.info.run_id
        # The child's own start, so that a metric that is sent again is not stored again.
        metrics = [*_member_metrics(member, child.info.start_time)]
        params = [] if child.data.params else _member_params(member)
        self._client.log_batch(run_id, metrics=metrics, params=params)
        self._client.log_dict(run_id, member.recipe.to_json(), "recipe.json")
        self._client.log_figure(run_id, heatmap_still(member.recipe), "recipe.png")
        self._client.set_terminated(run_id)


def _progress_metrics(state: Progress) -> Iterator[Metric]:
    names = sanitise(state.best)
    values = {f"best_{names[name]}": value for name, value in state.best.items()}
    values |= {
        "hypervolume": state.hypervolume,
        "front_size": float(state.n_front),
        "n_failed": float(state.n_failed),
    }
    yield from _metrics(values, round(state.time_s * 1000), state.n_done)


def _member_metrics(member: Member, time_ms: int) -> Iterator[Metric]:
    for phase, estimates in (("search", member.objectives), ("test", member.test)):
        yield from _metrics(_estimate_values(phase, estimates), time_ms, 0)


def _estimate_values(phase: str, estimates: Mapping[str, Estimate]) -> dict[str, float]:
    if not estimates:
        return {}
    names = sanitise(estimates)
    values = {f"{phase}/mean": mean_estimate([*estimates.values()]).mean}
    for name, estimate in estimates.items():
        values[f"{phase}/{names[name]}"] = estimate.mean
        values[f"{phase}_se/{names[name]}"] = estimate.se
        values[f"{phase}_items/{names[name]}"] = float(estimate.n)
    return values


def _metrics(values: Mapping[str, float], time_ms: int, step: int) -> Iterator[Metric]:
    for key, value in values.items():
        if math.isfinite(value):
            yield Metric(key, value, time_ms, step)


def _member_params(member: Member) -> list[Param]:
    recipe = member.recipe
    methods = dict.fromkeys(group.method for group in recipe.groups.values())
    values = {
        "candidate": member.id,
        "experts": ", ".join(recipe.experts),
        "methods": ", ".join(methods),
        "layer_groups": str(len(recipe.groups)),
        "seed": str(recipe.seed),
    }
    return [Param(key, value) for key, value in values.items()]


def _yaml(config: Mapping[str, object]) -> str:
    text = io.StringIO()
    # Through JSON: tuples and paths become what a YAML reader gives back.
    YAML().dump(json.loads(json.dumps(config, default=str)), text)
    return text.getvalue()
