"""The commands that learn about items."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from evomerge.commands.permissions import with_permissions
from evomerge.commands.shared import (
    AsJson,
    ConfigPath,
    Overrides,
    end_at_once_on_signals,
    print_json,
    print_value,
)
from evomerge.records import NO_CODE, Permissions

banks = typer.Typer(help="Look at item banks.", no_args_is_help=True, rich_markup_mode=None)


@with_permissions
def calibrate(
    config: ConfigPath,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of banks; runs/<name of the file>.banks by default.")
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="A search task; may be repeated. All by default."),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(help="Response matrix (CSV or Parquet: rows models, columns items)."),
    ] = None,
    merges: Annotated[int, typer.Option(min=0, help="Random merges to score on all items.")] = 40,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", help="Run whose candidates with all items scored are taken too."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Models of answers to choose from, by comma.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the merges and the folds.")] = 0,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Fit item banks, so that a search needs fewer items; killed, the same command goes on.

    Example: evomerge calibrate experiments/quickstart.yaml --merges 60
    """
    end_at_once_on_signals()
    from evomerge.run.calibrating import Wish, calibrate_tasks
    from evomerge.run.calibration_text import print_calibration

    wish = Wish(tuple(tasks or ()), responses, merges, from_run, seed)
    if models is not None:
        wish = replace(wish, models=tuple(name.strip() for name in models.split(",")))
    found = calibrate_tasks(config, overrides or (), out, wish, permissions=permissions)
    print_value(found, as_json, print_calibration)


@banks.command("show")
@with_permissions
def show_bank(
    bank: Annotated[Path, typer.Argument(help="File of a bank.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option(help="Experiment file, for the texts of the items.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the items' curves.")] = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Show an item bank: validation, flags, the worst items; with --html its curves.

    Example: evomerge bank show runs/quickstart.banks/lists_search.bank.json --html bank.html
    """
    from evomerge.run import bank_show

    view = bank_show.view_of(bank, config, permissions)
    if html is not None:
        bank_show.write_page(view, html)
    if as_json:
        print_json(bank_show.view_json(view))
    else:
        bank_show.print_view(view)
