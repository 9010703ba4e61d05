"""Which tasks of an experiment have item banks, and those that are given to it as files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evomerge.config.experiment import Experiment
from evomerge.config.read import Located
from evomerge.errors import CalibrationError, Problem
from evomerge.irt.trait_bank import TraitBank, read_trait_bank
from evomerge.records import measure_key

SUFFIX = ".bank.json"
"""What the file of a task's item bank is called after the task."""

REFUSAL_SUFFIX = ".no-bank.txt"
"""What the file is called after the task that says why a calibration gave it no bank."""

WITHOUT_BANK = ("scoring.estimator=mean", "scoring.bank=null")
"""Overrides for commands on banks: an experiment may name the folder that is about to be filled."""

GRADED_METRICS = ("log_likelihood", "output_length", "agreement")
"""Metrics of ours that are not right or wrong; of lm-eval's the responses tell."""


def given_banks(experiment: Experiment, fingerprints: Mapping[str, str]) -> dict[str, TraitBank]:
    """The banks of the experiment's search tasks in the folder that it names; none without one.

    Nor of a task that `evomerge calibrate` found to allow none.

    Args:
        fingerprints: digests of what banks would be about now, by `items:<task>`.

    Raises:
        CalibrationError: a bank is missing, cannot be read, or was fitted to another task or items.
    """
    folder = experiment.scoring.bank
    if folder is None:
        return {}
    tasks = tuple(banked_measures(experiment))
    _require(folder, tasks)
    banks = {
        task: read_trait_bank(folder / f"{task}{SUFFIX}")
        for task in tasks
        if task not in refusals(folder)
    }
    for task, bank in banks.items():
        if bank.task != task:
            raise CalibrationError(
                f"{folder / f'{task}{SUFFIX}'} is the item bank of task {bank.task}, expected that "
                f"of {task}; give the file the name of its task, or calibrate {task}"
            )
        bank.require(fingerprints[f"items:{task}"])
    return banks


def refusals(folder: Path) -> dict[str, str]:
    """Why tasks have no bank in a folder, where `evomerge calibrate` found that they allow none."""
    paths = sorted(folder.glob(f"*{REFUSAL_SUFFIX}"))
    found = {path.name.removesuffix(REFUSAL_SUFFIX): path for path in paths}
    return {
        task: path.read_text(encoding="utf-8").strip()
        for task, path in found.items()
        if not (folder / f"{task}{SUFFIX}").exists()
    }


def check_banks(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with `scoring.bank`, as far as the names of files tell."""
    folder = experiment.scoring.bank
    if folder is None:
        return
    place = ("scoring", "bank")
    if experiment.scoring.estimator != "irt":
        message = "found a folder of item banks, which `estimator: mean` has no use for; "
        yield located.problem(place, message + "set `estimator: irt`, or leave it out")
        return
    try:
        _require(folder, tuple(banked_measures(experiment)))
    except CalibrationError as error:
        yield located.problem(place, str(error))


def banked_measures(experiment: Experiment) -> dict[str, str]:
    """Which measure of each search task its item bank is about: the first that may be 0 or 1."""
    measures: dict[str, str] = {}
    for objective in experiment.objectives:
        if objective.task and objective.metric not in GRADED_METRICS:
            key = measure_key(objective.task, objective.metric)
            measures.setdefault(objective.task, key)
    return measures


def _require(folder: Path, tasks: Sequence[str]) -> None:
    there = sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    known = {*there, *refusals(folder)} if there else set()
    if missing := [task for task in tasks if task not in known]:
        raise CalibrationError(
            f"{folder} has no item bank for {', '.join(missing)}, expected {missing[0]}{SUFFIX}; "
            f"it has banks for {', '.join(there) or 'no task'}: write one with "
            "`evomerge calibrate`, or leave `scoring.bank` out for the run to fit its own"
        )
