"""Check an experiment before anything expensive starts: every problem at once, each located."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from evomerge.config.experiment import Experiment
from evomerge.config.read import Located, read_experiment
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import ConfigError, Problem
from evomerge.run.banks import check_banks
from evomerge.run.check_merge import check_merge
from evomerge.run.check_models import check_models
from evomerge.run.check_objectives import check_objectives
from evomerge.run.check_search import check_search
from evomerge.run.check_texts import check_texts
from evomerge.scoring.check import check_benchmarks


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a file, checked against the models and tasks that it names.

    Raises:
        ConfigError: with every problem that was found.
    """
    reading = read_experiment(path, overrides)
    problems = list(reading.problems)
    if reading.experiment is not None:
        problems += check_experiment(reading.experiment, reading.located)
    if problems or reading.experiment is None:
        raise ConfigError(_in_order(problems))
    return reading.experiment


def check_experiment(experiment: Experiment, located: Located) -> list[Problem]:
    """Everything that is wrong with an experiment of good form."""
    return [
        *check_merge(experiment, located),
        *check_search(experiment, located),
        *check_objectives(experiment, located),
        *check_models(experiment, located),
        *check_banks(experiment, located),
        *_check_tasks(experiment, located),
        *check_texts(experiment, located),
    ]


def _check_tasks(experiment: Experiment, located: Located) -> Iterator[Problem]:
    if experiment.tasks_path is not None and not experiment.tasks_path.is_dir():
        message = f"found no folder {experiment.tasks_path}; expected lm-eval YAML files in it"
        yield located.problem(("tasks_path",), message)
        return
    for index, objective in enumerate(experiment.objectives):
        for role, task in (("task", objective.task), ("test", objective.test)):
            if task is None:
                continue
            place: KeyPath = ("objectives", index, role)
            for problem in check_benchmarks(
                [task], tasks_path=experiment.tasks_path, metrics={task: (objective.metric,)}
            ):
                yield located.problem(place, problem.message)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By line of the file, so that one can go through it from the top."""

    def line_and_column(problem: Problem) -> tuple[int, ...]:
        numbers = problem.where.rsplit(":", 2)[-2:]
        return tuple(int(number) if number.isdigit() else 0 for number in numbers)

    return sorted(problems, key=line_and_column)
