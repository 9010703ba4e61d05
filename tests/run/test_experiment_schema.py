"""The schema for editors takes what a run takes, and marks what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from evomerge.run.listings import experiment_schema

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(EXPERIMENTS / name)
    return content


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(experiment_schema())
    return Draft202012Validator(experiment_schema())


@pytest.mark.parametrize("name", ["quickstart.yaml", "conflict.yaml"])
def test_it_takes_what_is_shipped(schema: Draft202012Validator, name: str) -> None:
    schema.validate(shipped(name))


@pytest.mark.parametrize("more", [{"workers": "auto"}, {"resources": {"num_gpus": 0.5}}])
def test_it_takes_what_ray_takes(schema: Draft202012Validator, more: dict[str, Any]) -> None:
    schema.validate(shipped("quickstart.yaml") | more)


@pytest.mark.parametrize(
    "more",
    [
        {"workers": -1},
        {"workers": "many"},
        {"resources": {"num_cpus": 0}},
        {"resources": {"num_gpus": 65}},
        {"resources": {"gpus": 1}},
    ],
)
def test_it_marks_what_is_refused(schema: Draft202012Validator, more: dict[str, Any]) -> None:
    assert not schema.is_valid(shipped("quickstart.yaml") | more)


@pytest.mark.parametrize("method", ["ties+lines", ["linear", "ties"], {"default": "ties"}])
def test_it_takes_every_form_of_method(schema: Draft202012Validator, method: Any) -> None:
    experiment = shipped("quickstart.yaml")
    schema.validate(experiment | {"merge": experiment.get("merge", {}) | {"method": method}})
