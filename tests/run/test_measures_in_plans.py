"""A plan holds how everything that is measured adds up, so that nobody needs lm-eval to read it."""

import json
from dataclasses import dataclass

import pytest

from evomerge.errors import ScoringError
from evomerge.records import Measure
from evomerge.run.bounds import Requirement
from evomerge.run.build import load_experiment_tasks, make_plan, measures_of
from evomerge.run.estimates import ACCURACY
from evomerge.run.plan import Plan
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Plan:
    """Accuracy, length and a bounded likelihood; estimated by a response model where it can be."""
    config = write_experiment(tmp_path_factory.mktemp("plan"), tiny_zoo)
    more = (
        "  - {task: words_search, test: words_test, metric: output_length, name: length}\n"
        "  - {task: choice_search, test: choice_test, metric: log_likelihood, name: likely, "
        "require: '>= 1.1 * base'}\n"
    )
    config.write_text(config.read_text().replace("merge:", f"{more}merge:", 1))
    overrides = ("scoring.estimator=irt", "scoring.calibration=8")
    experiment = load_experiment(config, overrides)
    return make_plan(experiment, load_experiment_tasks(experiment))


def test_every_objective_has_its_measure_and_direction(plan: Plan) -> None:
    found = {objective.name: objective for objective in plan.objectives}
    assert found["words_search"].measure == found["choice_search"].measure == ACCURACY
    assert not found["length"].measure.higher_is_better
    assert found["likely"].measure == Measure()
    assert found["likely"].requirement == Requirement(">=", 1.1, "base")
    assert found["likely"].key("test") == "choice_test:log_likelihood"


def test_a_plan_comes_back_from_the_journal_with_its_measures(plan: Plan) -> None:
    back = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert back.objectives == plan.objectives
    assert back.digest == plan.digest


def test_plans_of_versions_without_measures_were_about_accuracies(plan: Plan) -> None:
    written = plan.to_json()
    del written["measures"]
    assert {o.measure for o in Plan.from_json(written).objectives} == {ACCURACY}


def test_what_the_response_model_cannot_estimate_is_told(plan: Plan) -> None:
    (note,) = [note for note in plan.notes if note.startswith("estimator: irt")]
    assert "length, likely is what the items scored add up to" in note


@dataclass(frozen=True)
class Measured:
    measures: dict[str, Measure]


def test_a_test_that_adds_up_otherwise_is_refused(plan: Plan) -> None:
    names = ("words_search", "words_test", "choice_search", "choice_test")
    measures = {
        f"{name}{metric}": ACCURACY
        for name in names
        for metric in ("", ":output_length", ":log_likelihood")
    }
    same = dict.fromkeys(names, Measured(measures))
    assert set(measures_of(plan.experiment, same).values()) == {ACCURACY}
    other = Measured({**measures, "words_test": Measure("perplexity", higher_is_better=False)})
    with pytest.raises(ScoringError, match=r"objective words_search is measured by .* in the test"):
        measures_of(plan.experiment, {**same, "words_test": other})
