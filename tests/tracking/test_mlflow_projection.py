"""The run as MLflow shows it, in a real SQLite store."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from evomerge.records import Comparison, Failure, Progress
from evomerge.tracking import children
from evomerge.tracking.children import CANDIDATE_TAG
from evomerge.tracking.projection import Projection
from evomerge.tracking.ranking import ranked
from evomerge.tracking.store import ROLE_TAG, open_store
from evomerge.tracking.table import to_json
from evomerge.tracking.target import DATABASE, RunFacts, local_uri
from tests.tracking.comparisons import comparison

CONFIG = {"base": "zoo/base", "search": {"window": 8}, "objectives": [{"task": "acc,none [de]"}]}
START_S = 1_700_000_000.25
END_S = START_S + 60
STATES = [
    Progress(
        n,
        n // 2,
        4,
        {"acc,none [de]": 0.1 * n},
        0.2 * n,
        n,
        {"timeout": n // 2} if n > 1 else {},
        START_S + n,
    )
    for n in range(1, 5)
]
FAILURES = [Failure("abc", "timeout", "took longer than 10 s"), Failure("def", "timeout", "again")]

MADE = comparison(3)
SMALL = comparison(2, n_front=2)
DRAFT = "mlflow.new"


class Store:
    """A run directory with what MLflow holds of it."""

    def __init__(self, run_dir: Path) -> None:
        self.facts = RunFacts("run-1", "quickstart", run_dir, CONFIG, START_S)
        self.client = MlflowClient(local_uri(run_dir))

    def project(self, made: Comparison | None = None, status: str = "finished") -> None:
        """One session of a run: its states, and its front where it came that far."""
        projection = Projection(self.facts, local_uri(self.facts.run_dir))
        projection.show(STATES)
        if made is not None:
            projection.conclude(made, FAILURES, END_S)
        projection.close(status, END_S)

    def runs(self, role: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name("evomerge")
        rule = f"tags.`{ROLE_TAG}` = '{role}'"
        return list(self.client.search_runs([experiment.experiment_id], rule))

    def parent(self) -> Run:
        (parent,) = self.runs("search")
        return parent

    def history(self, name: str) -> list[tuple[int, int, float]]:
        found = self.client.get_metric_history(self.parent().info.run_id, name)
        return sorted((metric.step, metric.timestamp, metric.value) for metric in found)

    def artifact(self, run: Run, name: str) -> Path:
        return Path(run.info.artifact_uri.removeprefix("file://")) / name


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: it takes seconds."""
    run_dir = tmp_path_factory.mktemp("empty")
    (run_dir / DRAFT).write_bytes(b"left behind by a process killed while it made the tables")
    open_store(local_uri(run_dir), RunFacts("none", "none", run_dir, {}, 0.0, experiment="unused"))
    return run_dir / DATABASE


@pytest.fixture(scope="module")
def finished(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run of three objectives that has finished, for reading only."""
    run_dir = tmp_path_factory.mktemp("finished")
    shutil.copyfile(empty_database, run_dir / DATABASE)
    store = Store(run_dir)
    store.project(MADE)
    return store


@pytest.fixture
def store(empty_database: Path, tmp_path: Path) -> Store:
    shutil.copyfile(empty_database, tmp_path / DATABASE)
    return Store(tmp_path)


def test_a_run_is_one_parent_with_a_child_for_each_front_member(finished: Store) -> None:
    parent, children = finished.parent(), finished.runs("front")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["evomerge.run_id"] == "run-1"
    assert {run.data.tags[CANDIDATE_TAG] for run in children} == {m.id for m in MADE.front}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


def test_metrics_by_step_carry_the_journals_values_and_times(finished: Store) -> None:
    steps = [(state.n_done, round(state.time_s * 1000)) for state in STATES]
    assert finished.history("hypervolume") == [
        (*step, state.hypervolume) for step, state in zip(steps, STATES, strict=True)
    ]
    assert finished.history("best_acc_none _de_") == [
        (*step, state.best["acc,none [de]"]) for step, state in zip(steps, STATES, strict=True)
    ]
    assert [value for _, _, value in finished.history("n_failed")] == [0, 1, 1, 2]
    assert [value for _, _, value in finished.history("front_size")] == [1, 2, 3, 4]
    assert [(step, value) for step, _, value in finished.history("n_failed_timeout")] == [
        (2, 1),
        (3, 1),
        (4, 2),
    ]


def test_a_resumed_run_has_no_duplicates(store: Store) -> None:
    store.project(status="killed")
    assert store.parent().info.status == "KILLED"
    store.project(SMALL)
    before = [dict(run.data.metrics) for run in store.runs("front")]
    store.project(SMALL)
    assert store.parent().info.status == "FINISHED"
    assert len(store.history("hypervolume")) == len(STATES)
    assert [dict(run.data.metrics) for run in store.runs("front")] == before
    for run in store.runs("front"):
        assert len(store.client.get_metric_history(run.info.run_id, "search/mean")) == 1


def test_times_are_the_journals(finished: Store) -> None:
    parent = finished.parent()
    assert parent.info.start_time == round(START_S * 1000)
    assert parent.info.end_time == round(END_S * 1000)


def test_a_child_that_a_slow_server_made_twice_is_one_in_the_end(store: Store) -> None:
    store.project(SMALL)
    for made in (store.parent(), store.runs("front")[0]):
        store.client.create_run(
            made.info.experiment_id, made.info.start_time + 1, made.data.tags, made.info.run_name
        )
    store.project(SMALL)
    assert store.parent().info.status == "FINISHED"
    assert [run.info.status for run in store.runs("front")] == ["FINISHED"] * len(SMALL.front)


def test_a_child_that_was_half_made_is_completed(store: Store) -> None:
    store.project()
    member, parent = SMALL.front[0], store.parent()
    tags = {**parent.data.tags, ROLE_TAG: "front", CANDIDATE_TAG: member.id}
    store.client.create_run(parent.info.experiment_id, tags=tags)
    store.project(SMALL)
    (child,) = [run for run in store.runs("front") if run.data.tags[CANDIDATE_TAG] == member.id]
    assert child.info.status == "FINISHED"
    assert child.data.metrics["search/math_de"] == member.objectives["math_de"].mean
    assert store.artifact(child, "recipe.json").is_file()


def test_scores_that_are_restated_replace_those_of_a_stop(store: Store) -> None:
    store.project(SMALL, status="killed")
    member = replace(SMALL.front[0], objectives=SMALL.front[1].objectives)
    projection = Projection(store.facts, local_uri(store.facts.run_dir))
    projection.conclude(replace(SMALL, front=(member, *SMALL.front[1:])), (), END_S + 60)
    (child,) = [run for run in store.runs("front") if run.data.tags[CANDIDATE_TAG] == member.id]
    assert child.data.metrics["search/math_de"] == member.objectives["math_de"].mean


def test_a_large_front_has_children_for_its_best_members_and_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MOST", 2)
    store.project(MADE)
    shown = {run.data.tags[CANDIDATE_TAG] for run in store.runs("front")}
    assert shown == {name for name, _ in ranked(MADE)[:2]}
    note = store.parent().data.tags["mlflow.note.content"]
    assert "The 2 best of 3 front members have a child run; all of them are in front.html" in note


def test_what_failed_is_told_in_the_parent(finished: Store) -> None:
    parent = finished.parent()
    assert "Failed: 2 × timeout (failures.json)." in parent.data.tags["mlflow.note.content"]
    told = json.loads(finished.artifact(parent, "failures.json").read_text())
    assert told["counts"] == {"timeout": 2}
    assert told["failures"][0]["message"] == "took longer than 10 s"


def test_a_child_holds_scores_recipe_and_heat_map(finished: Store) -> None:
    member = MADE.front[0]
    (child,) = [run for run in finished.runs("front") if run.data.tags[CANDIDATE_TAG] == member.id]
    assert child.data.metrics["search/math_de"] == member.objectives["math_de"].mean
    assert child.data.metrics["search_se/math_de"] == member.objectives["math_de"].se
    assert child.data.metrics["test/acc_none _de_"] == member.test["acc,none [de]"].mean
    assert child.data.metrics["test_items/lists"] == 400
    assert (
        json.loads(finished.artifact(child, "recipe.json").read_text()) == member.recipe.to_json()
    )
    assert finished.artifact(child, "recipe.svg").read_text().startswith("<svg")
    assert child.data.params["coefficient.math"] == "0.0000"
    assert child.data.params["coefficient_early"] == "0.2500"
    assert child.info.status == "FINISHED"


def test_the_parent_holds_config_and_front(finished: Store) -> None:
    parent = finished.parent()
    assert parent.data.params["search.window"] == "8"
    assert parent.data.params["objectives.0.task"] == "acc,none [de]"
    assert finished.artifact(parent, "config.yaml").read_text().startswith("base: zoo/base\n")
    assert json.loads(finished.artifact(parent, "front.json").read_text()) == to_json(MADE)
    assert finished.artifact(parent, "front.csv").read_text().count("\n") == 1 + 6
    assert "Plotly" in finished.artifact(parent, "front.html").read_text()
    assert "| ★ " in parent.data.tags["mlflow.note.content"]


def test_a_member_that_left_the_front_leaves_mlflow(store: Store) -> None:
    store.project(SMALL)
    store.project(replace(SMALL, front=SMALL.front[1:]))
    shown = {run.data.tags[CANDIDATE_TAG] for run in store.runs("front")}
    assert shown == {member.id for member in SMALL.front[1:]}


def test_a_changed_setting_does_not_stop_a_resumed_run(store: Store) -> None:
    store.project()
    store.facts = replace(store.facts, config={**CONFIG, "search": {"window": 4}, "workers": 2})
    store.project()
    params = store.parent().data.params
    assert params["search.window"] == "8"  # MLflow never changes a parameter
    assert params["workers"] == "2"


def test_a_value_that_is_not_finite_is_left_out(store: Store) -> None:
    projection = Projection(store.facts, local_uri(store.facts.run_dir))
    projection.show([replace(STATES[0], hypervolume=float("nan"))])
    assert store.history("hypervolume") == []
    assert len(store.history("front_size")) == 1


def test_two_runs_share_an_experiment_and_nothing_else(store: Store) -> None:
    store.project(SMALL)
    store.facts = replace(store.facts, run_id="run-2")
    store.project(SMALL)
    assert len(store.runs("search")) == 2
    assert len(store.runs("front")) == 2 * len(SMALL.front)


def test_half_a_database_never_takes_the_place_of_one(empty_database: Path) -> None:
    assert MlflowClient(f"sqlite:///{empty_database}").search_experiments()
    assert not empty_database.with_name(DRAFT).exists()
