"""Check what an experiment measures, as far as the file itself tells: names, bounds, conflicts."""

from collections.abc import Iterator

from evomerge.config.experiment import Experiment, Objective
from evomerge.config.read import Located, expected_one_of
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import Problem, UsageError
from evomerge.records import measure_key
from evomerge.run.baselines import RESERVED_NAMES
from evomerge.run.bounds import parse_requirement
from evomerge.run.estimates import AGREEMENT


def check_objectives(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with the objectives, each by itself and together."""
    yield from _check_names(experiment, located)
    yield from _check_bounds(experiment, located)
    yield from _check_roles(experiment, located)
    yield from _check_settings(experiment, located)
    for index, objective in enumerate(experiment.objectives):
        if objective.metric == AGREEMENT and objective.test is not None:
            yield located.problem(
                ("objectives", index, "test"),
                "agreement is with merges that the search has tried nearby, so that it has no "
                "meaning on test items; leave `test` out",
            )


def _check_names(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """Names are unique, and nothing is measured twice to the same end."""
    names: dict[str, int] = {}
    ends: dict[tuple[str, str | None], int] = {}
    for index, objective in enumerate(experiment.objectives):
        key = measure_key(objective.benchmark("search"), objective.metric)
        same = ends.setdefault((key, objective.require), index)
        if same != index:
            yield located.problem(
                ("objectives", index),
                f"measures the same as objectives[{same}]; leave one of them out",
            )
        elif (first := names.setdefault(objective.title, index)) != index:
            yield located.problem(
                ("objectives", index),
                f"is called `{objective.title}` as objectives[{first}] is; give it a `name`",
            )


def _check_bounds(experiment: Experiment, located: Located) -> Iterator[Problem]:
    baselines = (*RESERVED_NAMES, *experiment.experts)
    for index, objective in enumerate(experiment.objectives):
        if objective.require is None:
            continue
        place: KeyPath = ("objectives", index, "require")
        try:
            baseline = parse_requirement(objective.require).baseline
        except UsageError as error:
            yield located.problem(place, str(error))
            continue
        if baseline is not None and baseline not in baselines:
            message = f"no baseline `{baseline}`; {expected_one_of(baseline, baselines)}"
            yield located.problem(place, message)
    if all(objective.require is not None for objective in experiment.objectives):
        yield located.problem(
            ("objectives",),
            "every objective has a bound (`require`), so that nothing is left to be improved; "
            "leave the bound of one out",
        )


def _check_roles(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """Test tasks are none that the search scores, and each task has one test."""
    searched: dict[str, int] = {}
    for index, objective in enumerate(experiment.objectives):
        if objective.task is not None:
            searched.setdefault(objective.task, index)
    for index, objective in enumerate(experiment.objectives):
        test, place = objective.test, ("objectives", index, "test")
        if test in searched:
            yield located.problem(
                place,
                f"`{test}` is used by objectives[{searched[test]}].task already; a test is of "
                "items that the search never sees",
            )
        first = experiment.objectives[searched.get(objective.task or "", index)]
        if None not in (test, first.test) and test != first.test:
            yield located.problem(
                place, f"`{objective.task}` has the test `{first.test}` already; a task has one"
            )


def _check_settings(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """A task is loaded once, so that its prompts are the same for all that is measured on it."""
    settings: dict[str, int] = {}
    for index, objective in enumerate(experiment.objectives):
        for task in filter(None, (objective.task, objective.test)):
            first = settings.setdefault(task, index)
            for key in _differences(objective, experiment.objectives[first]):
                yield located.problem(
                    ("objectives", index, key),
                    f"`{task}` has another {key} in objectives[{first}]; a task has the same "
                    "prompts for all that is measured on it: make them equal",
                )


def _differences(one: Objective, other: Objective) -> list[str]:
    keys = ("num_fewshot", "chat_template")
    return [key for key in keys if getattr(one, key) != getattr(other, key)]
