"""The commands that look at a run."""

from typing import Annotated

import typer

from evomerge.commands.shared import (
    AsJson,
    RunDir,
    end_at_once_on_signals,
    print_json,
    print_value,
)


def status(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Tell how far a run is: evaluations, failures, best scores, whether it is running.

    Example: evomerge status runs/quickstart
    """
    from evomerge.run.reading import print_status, status_of

    print_value(status_of(run_dir), as_json, print_status)


def front(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Print the Pareto front of a run beside its baselines.

    Example: evomerge front runs/quickstart --json
    """
    from evomerge.run.reading import front_json, print_front

    if as_json:
        print_json(front_json(run_dir))
    else:
        print_front(run_dir)


def ui(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open the MLflow UI of a run on this machine's loopback address.

    Example: evomerge ui runs/quickstart --port 5001
    """
    from evomerge.run.serving import serve_ui

    raise typer.Exit(serve_ui(run_dir, port))


def sync(
    run_dir: RunDir,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends; a run does this itself.")
    ] = False,
) -> None:
    """Send what MLflow does not have yet of a run; may be repeated.

    Example: evomerge sync runs/quickstart
    """
    end_at_once_on_signals()
    from evomerge.run.projecting import follow_run, sync_run

    (follow_run if follow else sync_run)(run_dir)
