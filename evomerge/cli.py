"""The command line: its commands in order, and what becomes of errors."""

import os
import sys
from typing import Annotated

import typer

from evomerge.commands import check, items, lists, models, search, watch
from evomerge.errors import ConfigError, EvomergeError
from evomerge.run.interrupt import Interrupted

app = typer.Typer(
    name="evomerge",
    help="Search for the best merges of large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS = (
    search.run,
    search.resume,
    watch.status,
    watch.front,
    models.export,
    models.transplant,
    models.merge,
    models.evaluate,
    items.calibrate,
    check.validate,
    check.plan,
    check.prepare,
    search.submit,
    check.doctor,
    check.schema,
    lists.methods,
    lists.controllers,
    watch.ui,
    watch.sync,
)


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


for command in COMMANDS:
    app.command()(command)
app.add_typer(items.banks, name="bank")


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
