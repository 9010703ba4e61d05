"""The command line: parse, call `run`, print. Everything heavy is imported where it is used."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from evomerge.cli_permissions import with_permissions
from evomerge.errors import ConfigError, EvomergeError
from evomerge.records import NO_CODE, Permissions
from evomerge.run.interrupt import SIGNALS, Interrupted

app = typer.Typer(
    name="evomerge",
    help="Search for the best merges of large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

banks = typer.Typer(help="Look at item banks.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(banks, name="bank")

ConfigPath = Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)]
RunDir = Annotated[Path, typer.Argument(help="Directory of a run.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Replace one value; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from evomerge import __version__

        print(f"evomerge {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@app.command()
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
    _end_at_once_on_signals()
    from evomerge.run.start import run_experiment

    _leave(run_experiment(config, overrides or (), out, permissions))


@app.command()
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
    _end_at_once_on_signals()
    from evomerge.run.start import resume_run

    _leave(resume_run(run_dir, permissions))


@app.command()
def status(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Tell how far a run is: evaluations, failures, best scores, whether it is running.

    Example: evomerge status runs/quickstart
    """
    from evomerge.run.reading import print_status, status_of

    _print(status_of(run_dir), as_json, print_status)


@app.command()
def front(run_dir: RunDir, as_json: AsJson = False) -> None:
    """Print the Pareto front of a run beside its baselines.

    Example: evomerge front runs/quickstart --json
    """
    from evomerge.run.reading import front_json, print_front

    if as_json:
        _print_json(front_json(run_dir))
    else:
        print_front(run_dir)


@app.command()
def export(
    run_dir: RunDir,
    candidate_id: Annotated[str, typer.Argument(help="Identity of a candidate or baseline.")],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
) -> None:
    """Write a candidate as an ordinary Hugging Face model with its card.

    Example: evomerge export runs/quickstart 3f9a0c1d2e4b merged/
    """
    from evomerge.run.exporting import export_candidate

    export_candidate(run_dir, candidate_id, out_dir)


@app.command()
def transplant(
    model: Annotated[Path, typer.Argument(help="Model folder, Hugging Face format.")],
    donor: Annotated[Path, typer.Argument(help="Folder of the model whose tokenizer it gets.")],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
    k: Annotated[int, typer.Option(min=1, help="Shared tokens that a new one is made of.")] = 64,
    anchors: Annotated[
        int | None, typer.Option(min=1, help="Choose among so many shared tokens; all by default.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Choose so many at a time: faster, a little less exact.")
    ] = 1,
) -> None:
    """Give a model the tokenizer of another one, without training.

    Example: evomerge transplant expert/ base/ expert-with-tokens-of-base/ --at-once 8
    """
    from evomerge.run.transplanting import transplant_tokenizer

    transplant_tokenizer(model, donor, out_dir, k=k, anchors=anchors, at_once=at_once)


@app.command()
def merge(
    config: Annotated[
        Path, typer.Argument(help="Configuration of mergekit (YAML).", show_default=False)
    ],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
    seed: Annotated[int, typer.Option(help="Key of random masks.")] = 0,
) -> None:
    """Merge models as a configuration of mergekit says.

    Example: evomerge merge mergekit_config.yml merged/
    """
    from evomerge.run.merging import merge_configuration

    merge_configuration(config, out_dir, seed=seed)


@app.command()
@with_permissions
def evaluate(
    model_dir: Annotated[Path, typer.Argument(help="Model folder, Hugging Face format.")],
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Score a model on the search, selection and test items of an experiment.

    Example: evomerge evaluate merged/ experiments/quickstart.yaml
    """
    from evomerge.run.evaluating import evaluate_model, print_evaluation

    evaluation = evaluate_model(model_dir, config, overrides or (), permissions)
    _print(evaluation, as_json, print_evaluation)


@app.command()
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
    _end_at_once_on_signals()
    from evomerge.run.calibrating import Wish, calibrate_tasks
    from evomerge.run.calibration_text import print_calibration

    wish = Wish(tuple(tasks or ()), responses, merges, from_run, seed)
    if models is not None:
        wish = replace(wish, models=tuple(name.strip() for name in models.split(",")))
    found = calibrate_tasks(config, overrides or (), out, wish, permissions=permissions)
    _print(found, as_json, print_calibration)


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
        _print_json(bank_show.view_json(view))
    else:
        bank_show.print_view(view)


@app.command()
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
            _print_json({"ok": False, "problems": problems})
            raise typer.Exit(error.exit_code) from error
        raise
    if as_json:
        _print_json({"ok": True, "problems": []})
    else:
        print(f"{config}: ok")


@app.command()
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
        _print_json(asdict(forecast))
    else:
        print_forecast(forecast)


@app.command()
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

    _print(prepare_experiment(config, overrides or (), permissions), as_json, print_preparation)


@app.command()
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


@app.command()
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
        _print_json(diagnosis.to_json())
    else:
        print_diagnosis(diagnosis)
    if diagnosis.problems:
        raise typer.Exit(InfrastructureError.exit_code)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors.

    Example: evomerge schema > experiment.schema.json
    """
    from evomerge.run.listings import experiment_schema

    _print_json(experiment_schema())


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the merge methods with their parameters.

    Example: evomerge methods
    """
    from evomerge.run.listings import method_rows, print_methods

    _print(method_rows(), as_json, print_methods)


@app.command()
def controllers(as_json: AsJson = False) -> None:
    """List the search controllers.

    Example: evomerge controllers
    """
    from evomerge.run.listings import controller_rows, print_controllers

    _print(controller_rows(), as_json, print_controllers)


@app.command()
def ui(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Open the MLflow UI of a run on this machine's loopback address.

    Example: evomerge ui runs/quickstart --port 5001
    """
    from evomerge.run.serving import serve_ui

    raise typer.Exit(serve_ui(run_dir, port))


@app.command()
def sync(
    run_dir: RunDir,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends; a run does this itself.")
    ] = False,
) -> None:
    """Send what MLflow does not have yet of a run; may be repeated.

    Example: evomerge sync runs/quickstart
    """
    _end_at_once_on_signals()
    from evomerge.run.projecting import follow_run, sync_run

    (follow_run if follow else sync_run)(run_dir)


def _end_at_once_on_signals() -> None:
    """Exit on a signal until the run takes them over: nothing is at stake before.

    Libraries that import each other lazily turn a KeyboardInterrupt into an ImportError.
    """
    for signum in SIGNALS:
        signal.signal(signum, lambda received, _frame: os._exit(128 + received))


def _leave(exit_code: int) -> NoReturn:
    """Exit; at once after an interrupt, when threads of libraries may still be busy.

    The journal is closed by then, and what tracking had no time to send the next stretch sends.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code > 128:
        os._exit(exit_code)
    raise typer.Exit(exit_code)


def _print(value: Any, as_json: bool, show: Any) -> None:
    if as_json:
        _print_json(value)
    else:
        show(value)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def main() -> None:
    """Run the command line; errors raised on purpose become one message and an exit code."""
    try:
        app()
    except EvomergeError as error:
        print(_described(error), file=sys.stderr)
        if os.environ.get("EVOMERGE_DEBUG"):
            raise
        sys.exit(error.exit_code)
    except Interrupted as interruption:
        print(f"Stopped by {interruption}; the same command goes on.", file=sys.stderr, flush=True)
        os._exit(interruption.exit_code)
    except BrokenPipeError:
        # The reader went away (`evomerge front … | head`); leave quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _described(error: EvomergeError) -> str:
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        return f"{len(error.problems)} problems:\n{error}"
    return f"error: {error}"
