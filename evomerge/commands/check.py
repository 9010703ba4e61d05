"""The commands that look before a run."""

from pathlib import Path
from typing import Annotated

import typer

from evomerge.commands.permissions import with_permissions
from evomerge.commands.shared import (
    AsJson,
    ConfigPath,
    Overrides,
    print_json,
    print_value,
)
from evomerge.errors import ConfigError
from evomerge.records import NO_CODE, Permissions


@with_permissions
def validate(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Check an experiment file, its models and its tasks; run nothing.

    Example: evomerge validate experiments/quickstart.yaml
    """
    from evomerge.run.validate import load_experiment

    try:
        load_experiment(config, overrides or (), permissions)
    except ConfigError as error:
        if as_json:
            problems = [{"where": p.where, "message": p.message} for p in error.problems]
            print_json({"ok": False, "problems": problems})
            raise typer.Exit(error.exit_code) from error
        raise
    if as_json:
        print_json({"ok": True, "problems": []})
    else:
        print(f"{config}: ok")


@with_permissions
def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Foretell what a run takes and can tell, from a few evaluations; write nothing.

    Example: evomerge plan experiments/quickstart.yaml --set budget.evaluations=400
    """
    from dataclasses import asdict

    from evomerge.run.forecast import forecast_of
    from evomerge.run.forecast_text import print_forecast

    forecast = forecast_of(config, overrides or (), permissions)
    if as_json:
        print_json(asdict(forecast))
    else:
        print_forecast(forecast)


@with_permissions
def prepare(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Collect the statistics of text that merge methods need, each once; a run does it itself.

    Example: evomerge prepare experiments/regmean.yaml
    """
    from evomerge.run.preparing import prepare_experiment, print_preparation

    print_value(
        prepare_experiment(config, overrides or (), permissions), as_json, print_preparation
    )


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="Experiment file, to check its models and tasks too.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to look at: auto, host:port, or its job server's URL."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check versions, memory, disk, accelerators, authentication and models on every node.

    Example: evomerge doctor --address auto experiments/quickstart.yaml
    """
    if address is not None and "://" in address:
        from evomerge.run.submitting import diagnose_there

        raise typer.Exit(diagnose_there(config, address, as_json=as_json))
    from evomerge.errors import InfrastructureError
    from evomerge.run.doctor import diagnose
    from evomerge.run.doctor_text import print_diagnosis

    diagnosis = diagnose(address, config)
    if as_json:
        print_json(diagnosis.to_json())
    else:
        print_diagnosis(diagnosis)
    if diagnosis.problems:
        raise typer.Exit(InfrastructureError.exit_code)


def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors.

    Example: evomerge schema > experiment.schema.json
    """
    from evomerge.run.listings import experiment_schema

    print_json(experiment_schema())
