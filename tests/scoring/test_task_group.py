"""Groups of tasks: their score and the order of their items, against lm-eval itself."""

import json
import math
import shutil
from pathlib import Path

import cloudpickle
import pytest
import torch

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.catalogue import Catalogue, LocalGroup
from evomerge.scoring.check import check_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from evomerge.scoring.task_group import TaskGroup
from tests.scoring.lm_eval_rows import evaluate_by_lm_eval, rows_of
from tests.tiny import TinyZoo

GROUP = """\
group: {name}
task: {tasks}
num_fewshot: 1
aggregate_metric_list:
  - metric: acc
    weight_by_size: {by_size}
  - metric: acc_norm
"""


@pytest.fixture
def tasks(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the tasks to put groups beside."""
    return Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))


def write_group(tasks: Path, members: str, *, by_size: bool = True) -> None:
    text = GROUP.format(name="choices", tasks=members, by_size=str(by_size).lower())
    (tasks / "choices.yaml").write_text(text)


def score_of(scores: TaskScores) -> float:
    return math.fsum(scores.values) / (math.fsum(scores.weights) or len(scores.values))


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_scores_as_lm_eval_aggregates_it(
    tiny_zoo: TinyZoo, tasks: Path, by_size: bool
) -> None:
    write_group(tasks, "[choice_test, choice_search]", by_size=by_size)
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    evaluation = evaluate_by_lm_eval(resident, ["choices"], tasks)
    metrics = {"choices": [None, "acc_norm", "log_likelihood"]}
    benchmarks = load_benchmarks(["choices"], tasks_path=tasks, metrics=metrics)
    scores = Scorer(resident, benchmarks).score("choices", range(100))
    expected = evaluation["groups"]["choices"]
    assert score_of(scores["choices"]) == pytest.approx(expected["acc,none"], abs=1e-12)
    assert score_of(scores["choices:acc_norm"]) == pytest.approx(expected["acc_norm,none"])
    assert 0.0 < expected["acc,none"] < 1.0
    rows = [row for task in ("choice_test", "choice_search") for row in rows_of(evaluation, task)]
    own = scores["choices"]
    weights = own.weights or (1.0,) * 100
    values = [value / weight for value, weight in zip(own.values, weights, strict=True)]
    assert values == pytest.approx([row["acc"] for row in rows])
    assert sum(weights) == pytest.approx(100)
    assert all(value < 0 for value in scores["choices:log_likelihood"].values)


def test_items_of_a_group_score_alike_in_any_order(tiny_zoo: TinyZoo, tasks: Path) -> None:
    write_group(tasks, "[choice_test, choice_search]", by_size=False)
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    scorer = Scorer(resident, load_benchmarks(["choices"], tasks_path=tasks))
    whole = scorer.score("choices", range(100))["choices"]
    some = scorer.score("choices", [77, 3, 60, 59, 99, 0])["choices"]
    assert some.items == (77, 3, 60, 59, 99, 0)
    assert some.values == tuple(whole.values[item] for item in some.items)
    assert some.weights == tuple(whole.weights[item] for item in some.items)
    with pytest.raises(ScoringError, match=r"'choices' has items 0 to 99, not 100"):
        scorer.score("choices", [100])


def test_a_group_can_travel(tasks: Path) -> None:
    write_group(tasks, "[choice_test, choice_search]")
    group = load_benchmarks(["choices"], tasks_path=tasks)["choices"]
    text = cloudpickle.dumps(group.portable())
    assert b".arrow" not in text
    there = cloudpickle.loads(text)
    assert there.digest == group.digest
    assert len({*there.contents}) == there.n_items == 100


def test_groups_nest_and_say_what_their_tasks_have_instead(tasks: Path) -> None:
    members = """
  - group: inner
    num_fewshot: 2
    task: [choice_test]
  - task: choice_search
    description: "One word: "
  - fresh_words"""
    write_group(tasks, members)
    text = (tasks / "words_test.yaml").read_text().replace("words_test\n", "tagged\n")
    (tasks / "tagged.yaml").write_text("tag: fresh_words\n" + text)
    group = Catalogue(tasks).read("choices")
    assert isinstance(group, LocalGroup)
    assert [task.name for task in group.tasks] == ["choice_test", "choice_search", "tagged"]
    assert [task.config["num_fewshot"] for task in group.tasks] == [1, 1, 1]  # the outermost wins
    assert group.tasks[1].config["description"] == "One word: "


def test_prompts_of_a_nested_group_are_lm_evals(tiny_zoo: TinyZoo, tasks: Path) -> None:
    write_group(
        tasks,
        "[{group: inner, num_fewshot: 2, task: [{task: choice_test, description: 'One: '}]}, "
        "choice_search]",
    )
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    evaluation = evaluate_by_lm_eval(resident, ["choices"], tasks)
    group = load_benchmarks(["choices"], tasks_path=tasks)["choices"]
    assert isinstance(group, TaskGroup)
    for part, task in zip(group.parts, ("choice_test", "choice_search"), strict=True):
        asked = [json.loads(json.dumps([r.args for r in own])) for own in part.requests]
        told = [json.loads(json.dumps(row["arguments"])) for row in rows_of(evaluation, task)]
        assert asked == told


def test_metrics_of_different_kinds_make_no_group(tasks: Path) -> None:
    write_group(tasks, "[choice_test, choice_search]")
    yaml = tasks / "choice_search.yaml"
    yaml.write_text(yaml.read_text().replace("aggregation: mean", "aggregation: median", 1))
    with pytest.raises(ScoringError, match=r"acc of the tasks of group 'choices' .* by mean, medi"):
        load_benchmarks(["choices"], tasks_path=tasks)


def test_a_metric_that_a_group_does_not_aggregate_is_refused(tasks: Path) -> None:
    write_group(tasks, "[choice_test, choice_search]")
    metrics = {"choices": ["exact_match"]}
    message = r"no aggregate of metric 'exact_match', expected one of acc, acc_norm, log_likelihood"
    with pytest.raises(ScoringError, match=message):
        load_benchmarks(["choices"], tasks_path=tasks, metrics=metrics)
    (problem,) = check_benchmarks(["choices"], tasks_path=tasks, metrics=metrics)
    assert pytest.raises(ScoringError, match=message).matches(ScoringError(problem.message))


def test_a_group_that_lm_eval_brings_is_read_with_its_tags() -> None:
    group = Catalogue(None).read("blimp")
    assert isinstance(group, LocalGroup)
    assert len(group.tasks) == 67
    assert group.tasks[0].name == "blimp_adjunct_island"
    assert not group.aggregates[0].weight_by_size


@pytest.mark.slow
def test_a_group_of_a_task_that_nobody_defines_names_the_nearest(tasks: Path) -> None:
    write_group(tasks, "[choice_test, choice_serch]")
    message = (
        r"group 'choices' in .*choices\.yaml: task 'choice_serch' was not .*mean choice_search"
    )
    with pytest.raises(ScoringError, match=message):
        load_benchmarks(["choices"], tasks_path=tasks)


@pytest.mark.slow
def test_the_tasks_of_mmlu_are_found_by_their_tags() -> None:
    group = Catalogue(None).read("mmlu")
    assert isinstance(group, LocalGroup)
    assert len(group.tasks) == 57
    assert group.tasks[0].name == "mmlu_abstract_algebra"
