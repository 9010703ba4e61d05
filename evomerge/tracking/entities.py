"""What MLflow is told, in its own words: metrics of a moment, metrics and parameters of a member.

Importing this module imports MLflow, which takes seconds.
"""

import math
from collections.abc import Iterator, Mapping

from mlflow.entities import Metric, Param

from evomerge.records import Estimate, Member, Progress
from evomerge.tracking.names import sanitise
from evomerge.tracking.ranking import PHASES, mean_estimate, scores
from evomerge.tracking.summary import mean_values


def progress_metrics(state: Progress) -> Iterator[Metric]:
    """A moment of the search: one step for each evaluation done, at the event's own time.

    MLflow's SQL stores keep equal metrics of one time and step once: what is sent again does no
    harm.
    """
    names, reasons = sanitise(state.best), sanitise(state.failures)
    values = {
        "hypervolume": state.hypervolume,
        "front_size": float(state.n_front),
        "n_failed": float(state.n_failed),
        **({} if state.n_feasible is None else {"n_feasible": float(state.n_feasible)}),
        **{f"best_{names[name]}": value for name, value in state.best.items()},
        **{f"n_failed_{reasons[reason]}": float(n) for reason, n in state.failures.items()},
    }
    for key, value in values.items():
        if math.isfinite(value):
            yield Metric(key, value, round(state.time_s * 1000), state.n_done)


def member_values(member: Member, *, has_mean: bool = True) -> dict[str, float]:
    """The metrics of a member of the front by name: means, standard errors, numbers of items.

    The mean over the objectives is there where it says something, before the others, since MLflow's
    parallel coordinates begin with the first; and what is missing to the bounds where there are
    some.
    """
    values: dict[str, float] = {}
    for phase in PHASES:
        estimates = scores(member, phase)
        own = [estimates[name] for name in member.objectives if name in estimates]
        if has_mean and own:
            values[f"{phase}/mean"] = mean_estimate(own).mean
        values |= _estimate_values(phase, estimates)
    if member.constraints:
        values["violation"] = member.violation
    return {key: value for key, value in values.items() if math.isfinite(value)}


def member_params(member: Member) -> dict[str, str]:
    """The parameters of a member: what merges it, and where its values lie on average.

    A recipe has up to hundreds of values: whole it is an artifact; its means are numbers that
    MLflow's parallel coordinates can draw.
    """
    recipe = member.recipe
    means = mean_values(recipe)
    names = sanitise(means)
    methods = dict.fromkeys(group.method for group in recipe.groups.values())
    return {
        **{names[key]: f"{mean:.4f}" for key, mean in means.items()},
        "experts": ", ".join(recipe.experts),
        "methods": ", ".join(methods),
        "layer_groups": str(len(recipe.groups)),
        "seed": str(recipe.seed),
    }


def missing_params(wanted: Mapping[str, str], known: Mapping[str, str]) -> list[Param]:
    """The parameters that MLflow does not have: it never changes one, and refuses the attempt."""
    return [Param(key, text) for key, text in wanted.items() if key not in known]


def _estimate_values(phase: str, estimates: Mapping[str, Estimate]) -> dict[str, float]:
    if not estimates:
        return {}
    names = sanitise(estimates)
    values: dict[str, float] = {}
    for name, estimate in estimates.items():
        values[f"{phase}/{names[name]}"] = estimate.mean
        values[f"{phase}_se/{names[name]}"] = estimate.se
        values[f"{phase}_items/{names[name]}"] = float(estimate.n)
    return values
