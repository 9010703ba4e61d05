"""Which items of every benchmark are for the search, the selection after it and the final test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evomerge.config.experiment import Experiment, Objective
from evomerge.records import Phase
from evomerge.run.plan import Items
from evomerge.scoring.item_sets import Wanted, split_items
from evomerge.scoring.model_size import ModelBenchmark
from evomerge.scoring.scorers import AnyBenchmark


@dataclass(frozen=True)
class Division:
    """The items of every phase by benchmark, and in words where they are not what was wanted."""

    items: Mapping[Phase, Items]
    notes: tuple[str, ...]


def divide(experiment: Experiment, benchmarks: Mapping[str, AnyBenchmark]) -> Division:
    """The items of a run, disjoint by construction.

    A test task is scored whole; of a benchmark without one, and of the rest for the selection, a
    share of its own items is kept from the search.

    Raises:
        ScoringError: too few items of a benchmark are left to the search.
    """
    tests = {name: benchmarks[name] for name in map(_own_test, experiment.objectives) if name}
    barred = frozenset(text for test in tests.values() for text in test.contents)
    sets = {
        name: split_items(
            name,
            benchmarks[name].contents,
            Wanted(
                test=0.0 if has_test else experiment.scoring.held_out,
                selection=experiment.scoring.selection,
            ),
            seed=experiment.seed,
            barred=barred,
        )
        for name, has_test in _search_benchmarks(experiment)
        if not isinstance(benchmarks[name], ModelBenchmark)
    }
    whole = {name: tuple(range(test.n_items)) for name, test in tests.items()}
    # The model's size is the same whenever it is asked: never a reason to merge once more.
    known = {name: (0,) for name, own in benchmarks.items() if isinstance(own, ModelBenchmark)}
    selection = {name: own.selection for name, own in sets.items() if own.selection}
    test = {name: own.test for name, own in sets.items() if own.test} | whole
    return Division(
        items={
            "search": {name: own.search for name, own in sets.items()} | known,
            "selection": selection | known if selection else {},
            "test": test | known if test else {},
        },
        notes=(*(note for own in sets.values() for note in own.notes), *_notes(experiment)),
    )


def _notes(experiment: Experiment) -> Iterator[str]:
    if experiment.scoring.estimator == "mean" and experiment.scoring.rotation:
        yield (
            "with scoring.rotation and the mean, candidates of different generations are compared "
            "by means of partly different items: lucky ones among the early stay ahead; "
            "`estimator: irt` puts them on one scale"
        )


def _own_test(objective: Objective) -> str | None:
    """The benchmark that an objective names for the test, if any."""
    name = objective.benchmark("test")
    return None if name == objective.benchmark("search") else name


def _search_benchmarks(experiment: Experiment) -> Iterator[tuple[str, bool]]:
    """The benchmarks of the search, and whether all their objectives name a test."""
    has_test: dict[str, bool] = {}
    for objective in experiment.objectives:
        name = objective.benchmark("search")
        has_test[name] = has_test.get(name, True) and _own_test(objective) is not None
    yield from has_test.items()
