"""What several commands share: their arguments, how they print and how they leave."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from evomerge.run.interrupt import SIGNALS

ConfigPath = Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)]
RunDir = Annotated[Path, typer.Argument(help="Directory of a run.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Replace one value; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def end_at_once_on_signals() -> None:
    """Exit on a signal until the run takes them over: nothing is at stake before.

    Libraries that import each other lazily turn a KeyboardInterrupt into an ImportError.
    """
    for signum in SIGNALS:
        signal.signal(signum, lambda received, _frame: os._exit(128 + received))


def leave(exit_code: int) -> NoReturn:
    """Exit; at once after an interrupt, when threads of libraries may still be busy.

    The journal is closed by then, and what tracking had no time to send the next stretch sends.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if exit_code > 128:
        os._exit(exit_code)
    raise typer.Exit(exit_code)


def print_value(value: Any, as_json: bool, show: Any) -> None:
    """Print as JSON, or by `show` for a human."""
    if as_json:
        print_json(value)
    else:
        show(value)


def print_json(value: Any) -> None:
    """Print JSON that any reader takes."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
