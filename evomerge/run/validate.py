"""Check an experiment before anything expensive starts: every problem at once, each located."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from evomerge.checkpoint.files import read_json
from evomerge.config.experiment import Experiment
from evomerge.config.read import Located, read_experiment
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import ConfigError, Problem
from evomerge.records import NO_CODE, Permissions
from evomerge.run.banks import check_banks
from evomerge.run.check_merge import check_merge
from evomerge.run.check_models import check_models
from evomerge.run.check_objectives import check_objectives
from evomerge.run.check_search import check_search
from evomerge.run.check_texts import check_texts
from evomerge.scoring.check import check_benchmarks


def load_experiment(
    path: Path, overrides: Sequence[str] = (), permissions: Permissions = NO_CODE
) -> Experiment:
    """The experiment of a file, checked against the models and tasks that it names.

    Raises:
        ConfigError: with every problem that was found.
    """
    reading = read_experiment(path, overrides)
    problems = list(reading.problems)
    if reading.experiment is not None:
        problems += check_experiment(reading.experiment, reading.located, permissions)
    if problems or reading.experiment is None:
        raise ConfigError(_in_order(problems))
    return reading.experiment


def check_experiment(
    experiment: Experiment, located: Located, permissions: Permissions = NO_CODE
) -> list[Problem]:
    """Everything that is wrong with an experiment of good form."""
    return [
        *check_merge(experiment, located),
        *check_search(experiment, located),
        *check_objectives(experiment, located),
        *check_models(experiment, located),
        *check_banks(experiment, located),
        *_check_tasks(experiment, located, permissions),
        *check_texts(experiment, located),
    ]


def _check_tasks(
    experiment: Experiment, located: Located, permissions: Permissions
) -> Iterator[Problem]:
    if experiment.tasks_path is not None and not experiment.tasks_path.is_dir():
        message = f"found no folder {experiment.tasks_path}; expected lm-eval YAML files in it"
        yield located.problem(("tasks_path",), message)
        return
    for index, objective in enumerate(experiment.objectives):
        if objective.chat_template and not _can_chat(experiment.base):
            message = (
                f"the tokenizer in {experiment.base} has no chat template; leave this out, or add "
                "a chat_template to its tokenizer_config.json"
            )
            yield located.problem(("objectives", index, "chat_template"), message)
        for role, task in (("task", objective.task), ("test", objective.test)):
            if task is None:
                continue
            place: KeyPath = ("objectives", index, role)
            for problem in check_benchmarks(
                [task],
                tasks_path=experiment.tasks_path,
                metrics={task: (objective.metric,)},
                permissions=permissions,
            ):
                yield located.problem(place, problem.message)


def _can_chat(folder: Path) -> bool:
    """Whether a model's tokenizer has a chat template, as far as its files tell."""
    config = folder / "tokenizer_config.json"
    told = config.is_file() and bool(read_json(config).get("chat_template"))
    return told or (folder / "chat_template.jinja").is_file()


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By line of the file, so that one can go through it from the top."""

    def line_and_column(problem: Problem) -> tuple[int, ...]:
        numbers = problem.where.rsplit(":", 2)[-2:]
        return tuple(int(number) if number.isdigit() else 0 for number in numbers)

    return sorted(problems, key=line_and_column)
