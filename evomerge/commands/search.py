"""The commands that search and go on searching."""

from pathlib import Path
from typing import Annotated

import typer

from evomerge.commands.permissions import with_permissions
from evomerge.commands.shared import (
    ConfigPath,
    Overrides,
    end_at_once_on_signals,
    leave,
)
from evomerge.records import NO_CODE, Permissions


@with_permissions
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; runs/<name of the file> by default.")
    ] = None,
    permissions: Permissions = NO_CODE,
) -> None:
    """Run a search, or continue the same search in its directory.

    Example: evomerge run experiments/quickstart.yaml --set seed=1 --out runs/second
    """
    end_at_once_on_signals()
    from evomerge.run.start import run_experiment

    leave(run_experiment(config, overrides or (), out, permissions))


@with_permissions
def resume(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN_DIR|CONFIG", help="A run, or its experiment file.")
    ],
    permissions: Permissions = NO_CODE,
) -> None:
    """Continue a run that was stopped or killed; a finished run is left as it is.

    Example: evomerge resume runs/quickstart
    """
    end_at_once_on_signals()
    from evomerge.run.start import resume_run

    leave(resume_run(run_dir, permissions))


@with_permissions
def submit(
    config: ConfigPath,
    address: Annotated[
        str, typer.Option(help="Job server of the cluster, http://127.0.0.1:8265 of a tunnel.")
    ],
    workers: Annotated[str, typer.Option(help="How many workers, or auto.")] = "auto",
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run directory on the cluster.")] = None,
    working_dir: Annotated[
        Path | None, typer.Option(help="Folder to upload; CONFIG is relative to it.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    permissions: Permissions = NO_CODE,
) -> None:
    """Run a search on a Ray cluster as a job of it, and follow its output.

    Example: evomerge submit experiments/quickstart.yaml --address http://127.0.0.1:8265
    """
    from evomerge.run import submitting

    wanted = submitting.submission(
        config,
        workers=workers,
        overrides=overrides or (),
        out=out,
        working_dir=working_dir,
        permissions=permissions,
    )
    raise typer.Exit(submitting.submit(wanted, address, wait=wait))
