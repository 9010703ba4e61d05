"""`bank show`: an item bank for the eye, in the terminal and as a page."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evomerge.errors import UsageError
from evomerge.irt.files import write_whole
from evomerge.irt.summary import BankSummary, summary_of
from evomerge.irt.trait_bank import TraitBank, read_trait_bank
from evomerge.records import NO_CODE, Permissions
from evomerge.run.banks import WITHOUT_BANK, banked_measures

N_WORST = 10
LONGEST = 200
"""Characters of an item's text that the terminal shows."""


@dataclass(frozen=True, eq=False)
class View:
    """A bank, what there is to be seen of it, and the texts of its worst items by document id."""

    bank: TraitBank
    summary: BankSummary
    texts: Mapping[int, str]

    @property
    def worst(self) -> list[int]:
        """Places of the items that are listed."""
        return self.summary.worst(N_WORST)


def view_of(path: Path, config: Path | None, permissions: Permissions = NO_CODE) -> View:
    """What is to be seen of the bank in a file.

    Args:
        config: experiment whose task says what the items are; without it they stay numbers.
        permissions: what that task may run.

    Raises:
        CalibrationError: the file is no bank, or was fitted to other items than the experiment's.
        UsageError: it is a folder, or the experiment has no such task.
    """
    if path.is_dir():
        names = sorted(file.name for file in path.glob("*.json"))
        raise UsageError(
            f"{path} is a folder, expected the file of one bank; it holds {', '.join(names[:8])}"
        )
    bank = read_trait_bank(path)
    summary = summary_of(bank)
    worst = [summary.items[place].item for place in summary.worst(N_WORST)]
    texts = _texts(bank, worst, config, permissions) if config else {}
    return View(bank, summary, texts)


def write_page(view: View, path: Path) -> None:
    """Write the page of a bank.

    Raises:
        InfrastructureError: the disk refuses.
    """
    from evomerge.tracking.bank_page import bank_page  # plotly takes its time

    write_whole(path, bank_page(view.bank, view.summary, view.worst, view.texts))


def view_json(view: View) -> dict[str, Any]:
    """What is to be seen of a bank, as JSON values."""
    bank, summary = view.bank, view.summary
    return {
        "task": bank.task,
        "model": bank.model,
        "n_models": bank.n_models,
        "n_items": len(bank.items),
        "ability": {"mean": summary.ability_mean, "sd": summary.ability_sd},
        "trusts_model": bank.estimator.trusts_model,
        "way": bank.estimator.way,
        "doubt": bank.estimator.doubt,
        "validation": [asdict(row) for row in bank.estimator.validation],
        "comparison": [asdict(trial) for trial in bank.trials],
        "flags": {str(bank.items[place]): flag for place, flag in sorted(bank.flags.items())},
        "worst": [
            {**asdict(item), "text": view.texts.get(item.item)}
            for item in (summary.items[place] for place in view.worst)
        ],
        "provenance": dict(bank.provenance),
    }


def print_view(view: View) -> None:
    """Print what is to be seen of a bank."""
    console = Console(highlight=False)
    for line in _head(view):
        console.print(line, soft_wrap=True, markup=False)
    console.print()
    console.print(_trials(view.bank))
    console.print()
    console.print(_worst(view))


def _head(view: View) -> Iterable[str]:
    bank, summary = view.bank, view.summary
    flags = list(bank.flags.values())
    counts = ", ".join(f"{flags.count(flag)} {flag}" for flag in dict.fromkeys(flags))
    yield f"{bank.task}: {len(bank.items)} items, fitted to {bank.n_models} models"
    yield f"model of answers: {bank.model}; flagged: {counts or 'none'}"
    yield f"abilities: mean {summary.ability_mean:.2f}, sd {summary.ability_sd:.2f}"
    yield f"trusted: {'yes' if bank.estimator.trusts_model else 'no; ' + bank.estimator.doubt}"
    factors = (f"{row.inflation:.2f} at {row.n}" for row in bank.estimator.validation)
    yield f"standard errors times: {', '.join(factors) or '1'}"


def _trials(bank: TraitBank) -> Table:
    sizes = list(dict.fromkeys(size for trial in bank.trials for size in trial.errors))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("error of the score", no_wrap=True)
    for name in (*(f"at {size}" for size in sizes), "log-lik.", "above best", "± se"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in bank.trials:
        errors = (trial.errors.get(size) for size in sizes)
        numbers = (*errors, trial.log_likelihood, trial.excess, trial.excess_se)
        name = f"{trial.name} (chosen)" if trial.name == bank.model else trial.name
        table.add_row(name, *("" if x is None else f"{x:.4f}" for x in numbers))
    return table


def _worst(view: View) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("worst items", "flag"):
        table.add_column(name, no_wrap=True)
    for name in ("right", "slope", "± se", "information"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("text")
    for place in view.worst:
        item = view.summary.items[place]
        numbers = (item.share, item.slope, item.slope_se, item.information)
        text = view.texts.get(item.item, "")
        short = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
        table.add_row(str(item.item), item.flag, *(f"{x:.2f}" for x in numbers), escape(short))
    return table


def _texts(
    bank: TraitBank, items: Iterable[int], config: Path, permissions: Permissions
) -> dict[int, str]:
    # lm-eval takes its time: only where texts are wanted.
    from evomerge.run.build import load_experiment_tasks
    from evomerge.run.validate import load_experiment
    from evomerge.scoring.benchmark import Benchmark
    from evomerge.scoring.task_group import TaskGroup

    experiment = load_experiment(config, WITHOUT_BANK, permissions)
    benchmarks = load_experiment_tasks(experiment, permissions)
    benchmark, measures = benchmarks.get(bank.task), banked_measures(experiment)
    if not isinstance(benchmark, Benchmark | TaskGroup) or bank.task not in measures:
        raise UsageError(
            f"{config} has no task {bank.task}, expected the experiment that the bank was fitted "
            f"for; it has {', '.join(benchmarks)}"
        )
    bank.require(benchmark.digest_of(measures[bank.task]))
    return {item: benchmark.text(item) for item in items}
