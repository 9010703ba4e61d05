"""The items of a whole experiment: every benchmark divided, tests of their own left whole."""

from pathlib import Path

import pytest

from evomerge.config.experiment import Experiment
from evomerge.run.build import load_experiment_tasks
from evomerge.run.dividing import Division, divide
from evomerge.run.validate import load_experiment
from evomerge.scoring.scorers import AnyBenchmark
from tests.experiment import write_experiment
from tests.tiny import TinyZoo

OBJECTIVES = """\
objectives:
  - {task: words_search, test: words_test}
  - {task: choice_search}
  - {metric: parameters}
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory, tiny_zoo: TinyZoo) -> Path:
    """An experiment with a test task, a task without one, and the size of the model."""
    path = write_experiment(tmp_path_factory.mktemp("dividing"), tiny_zoo)
    head, _, rest = path.read_text().partition("objectives:")
    path.write_text(head + OBJECTIVES + rest[rest.index("merge:") :])
    return path


@pytest.fixture(scope="module")
def benchmarks(read: Path) -> dict[str, AnyBenchmark]:
    return load_experiment_tasks(load_experiment(read))


def divided(read: Path, benchmarks: dict[str, AnyBenchmark], *overrides: str) -> Division:
    experiment: Experiment = load_experiment(read, overrides)
    return divide(experiment, benchmarks)


def sizes(division: Division) -> dict[str, dict[str, int]]:
    return {
        phase: {name: len(items) for name, items in own.items()}
        for phase, own in division.items.items()
    }


def test_a_test_task_is_left_whole_and_another_task_keeps_a_share(
    read: Path, benchmarks: dict[str, AnyBenchmark]
) -> None:
    assert sizes(divided(read, benchmarks)) == {
        "search": {"words_search": 32, "choice_search": 22, "model": 1},
        "selection": {"words_search": 8, "choice_search": 8, "model": 1},
        "test": {"words_test": 60, "choice_search": 10, "model": 1},
    }


def test_a_models_size_alone_is_no_reason_to_score_again(
    read: Path, benchmarks: dict[str, AnyBenchmark]
) -> None:
    division = divided(read, benchmarks, "scoring.selection=0")
    assert division.items["selection"] == {}


def test_how_a_task_is_divided_depends_on_no_other(
    read: Path, benchmarks: dict[str, AnyBenchmark]
) -> None:
    both = divided(read, benchmarks).items
    alone = divided(read, benchmarks, "objectives=[{task: choice_search}]").items
    for phase, items in alone.items():
        assert items["choice_search"] == both[phase]["choice_search"]


def test_a_number_of_items_may_be_wanted_for_the_selection(
    read: Path, benchmarks: dict[str, AnyBenchmark]
) -> None:
    division = divided(read, benchmarks, "scoring.selection=15", "scoring.held_out=0")
    assert sizes(division)["selection"] == {"words_search": 15, "choice_search": 15, "model": 1}
    assert sizes(division)["test"] == {"words_test": 60, "model": 1}


def test_another_seed_divides_otherwise(read: Path, benchmarks: dict[str, AnyBenchmark]) -> None:
    first, second = (divided(read, benchmarks, f"seed={seed}").items for seed in (0, 1))
    assert first["selection"] != second["selection"]
