"""The MLflow side of a run: one parent, and a child for each of the best members of its front.

Everything here is synchronous, raises what MLflow raises, and may be repeated without harm: a
metric carries the event's own time, a parameter that is there is not sent again, a run is looked up
by its tags before it is made. One process at a time may do it (`tracking.cursor.claim`).
Importing this module imports MLflow, which takes seconds.
"""

import io
import json
from collections.abc import Mapping, Sequence

from mlflow.entities import Run
from ruamel.yaml import YAML

from evomerge.records import Comparison, Failure, Progress
from evomerge.tracking.children import Children, left_out
from evomerge.tracking.entities import missing_params, progress_metrics
from evomerge.tracking.failures import failures_json, failures_line
from evomerge.tracking.flatten import flatten
from evomerge.tracking.names import sanitise
from evomerge.tracking.page import front_page
from evomerge.tracking.store import RunTags, only_one, open_store
from evomerge.tracking.table import to_csv, to_json, to_markdown
from evomerge.tracking.target import RunFacts
from evomerge.tracking.tracker import Status

_STATUS = {"finished": "FINISHED", "killed": "KILLED", "failed": "FAILED"}
# MLflow takes at most 1000 metrics and 100 parameters at once.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_NOTE_LIMIT, _CUT = 8000, "\n\nMLflow takes no longer text: every row is in front.csv.\n"


class Projection:
    """A run as MLflow shows it."""

    def __init__(self, facts: RunFacts, uri: str) -> None:
        """Open the store, and the parent run: the one with this run's tag, or a new one."""
        self._facts = facts
        self._client, self._experiment = open_store(uri, facts)
        self._parent = self._parent_run()
        self._log_config()

    @property
    def parent_id(self) -> str:
        """MLflow's own id of the parent run."""
        return str(self._parent.info.run_id)

    def show(self, states: Sequence[Progress]) -> None:
        """Send the metrics of several moments, one step for each evaluation done."""
        metrics = [metric for state in states for metric in progress_metrics(state)]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            batch = metrics[start : start + _METRICS_AT_ONCE]
            self._client.log_batch(self.parent_id, metrics=batch)

    def conclude(self, comparison: Comparison, failures: Sequence[Failure], time_s: float) -> None:
        """Send the front as page, table and JSON, its members as children, and what failed.

        Args:
            comparison: the front beside the baselines.
            failures: every evaluation that failed.
            time_s: the journal's time of all this, seconds since the epoch.
        """
        page = front_page(comparison, self._facts.title)
        self._client.log_text(self.parent_id, page, "front.html")
        self._client.log_text(self.parent_id, to_csv(comparison), "front.csv")
        self._client.log_dict(self.parent_id, to_json(comparison), "front.json")
        if failures:
            self._client.log_dict(self.parent_id, failures_json(failures), "failures.json")
        self._client.set_tag(self.parent_id, "mlflow.note.content", _note(comparison, failures))
        children = Children(self._client, self._experiment, self._parent)
        children.show(comparison, round(time_s * 1000))

    def open(self) -> None:
        """Say that the run goes on."""
        self._client.update_run(self.parent_id, status="RUNNING")

    def close(self, status: Status, time_s: float) -> None:
        """Say how the run ended, and when: seconds since the epoch."""
        self._client.set_terminated(
            self.parent_id, status=_STATUS[status], end_time=round(time_s * 1000)
        )

    def _parent_run(self) -> Run:
        tags = RunTags(self._facts.run_id, "search")
        found = self._client.search_runs([self._experiment], tags.rule)
        if found:
            return only_one(self._client, found)
        return self._client.create_run(
            self._experiment,
            start_time=round(self._facts.start_s * 1000),
            tags=tags.as_dict(),
            run_name=self._facts.title,
        )

    def _log_config(self) -> None:
        texts = flatten(self._facts.config)
        names = sanitise(texts)
        wanted = {names[key]: text for key, text in texts.items()}
        params = missing_params(wanted, self._parent.data.params)
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(self.parent_id, params=params[start : start + _PARAMS_AT_ONCE])
        self._client.log_text(self.parent_id, _yaml(self._facts.config), "config.yaml")


def _note(comparison: Comparison, failures: Sequence[Failure]) -> str:
    """What is left out, what failed, then the table, as far as MLflow takes it."""
    parts = (left_out(comparison), failures_line(failures), to_markdown(comparison))
    text = "\n\n".join(part for part in parts if part)
    if len(text) <= _NOTE_LIMIT:
        return text
    return text[: _NOTE_LIMIT - len(_CUT)].rpartition("\n")[0] + _CUT


def _yaml(config: Mapping[str, object]) -> str:
    text = io.StringIO()
    # Through JSON: tuples and paths become what a YAML reader gives back.
    YAML().dump(json.loads(json.dumps(config, default=str)), text)
    return text.getvalue()
