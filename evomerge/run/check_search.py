"""Check how an experiment searches: controller, budget, workers."""

from collections.abc import Iterator

from evomerge.config.experiment import Experiment
from evomerge.config.read import Located, expected_one_of
from evomerge.errors import Problem
from evomerge.search.table import CONTROLLERS


def check_search(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with controller, budget and workers, together."""
    controller = experiment.search.controller
    if controller not in CONTROLLERS:
        message = f"no controller `{controller}`; {expected_one_of(controller, tuple(CONTROLLERS))}"
        yield located.problem(("search", "controller"), message)
    evaluations, population = experiment.budget.evaluations, experiment.search.population
    if evaluations < population:
        yield located.problem(
            ("budget", "evaluations"),
            f"{evaluations} evaluations are fewer than search.population ({population}), so that "
            "nothing would evolve; raise the budget or lower the population",
        )
    scoring = experiment.scoring
    learns = scoring.estimator == "irt" and scoring.bank is None
    if learns and evaluations <= scoring.calibration:
        yield located.problem(
            ("budget", "evaluations"),
            f"{evaluations} evaluations are not more than scoring.calibration "
            f"({scoring.calibration}), so that all would be scored on all items and nothing be "
            "estimated; raise the budget, lower the calibration or set `estimator: mean`",
        )
    if experiment.budget.wall_time_s is not None and experiment.mode == "deterministic":
        yield located.problem(
            ("budget", "wall_time_s"),
            "a time limit makes results depend on the machine's speed; "
            "set `mode: async`, or limit budget.evaluations alone",
        )
    if experiment.workers == 0 and experiment.address is not None:
        yield located.problem(
            ("address",),
            f"found {experiment.address}, but `workers: 0` scores in this process; "
            "set `workers` to a number or to `auto`",
        )
