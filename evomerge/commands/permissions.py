"""The flags by which whoever types a command allows tasks to run code."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from evomerge.records import PERMISSION_FLAGS, Permissions

_HELP = {
    "task_code": "Run the Python that tasks' YAML names.",
    "unsafe_code": "Run programs that the models write.",
    "remote_code": "Run code that comes with datasets.",
}


def with_permissions(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the three flags in place of its argument `permissions`."""

    @functools.wraps(command)
    def flagged(**arguments: Any) -> None:
        allowed = {name: arguments.pop(name) for name in _HELP}
        command(**arguments, permissions=Permissions(**allowed))

    parameters = inspect.signature(command).parameters
    kept = [parameter for name, parameter in parameters.items() if name != "permissions"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(
            name, keyword, default=False, annotation=Annotated[bool, typer.Option(flag, help=text)]
        )
        for (name, text), flag in zip(_HELP.items(), PERMISSION_FLAGS, strict=True)
    ]
    # Typer reads a command's arguments from here.
    vars(flagged)["__signature__"] = inspect.Signature([*kept, *flags])
    flagged.__annotations__ = {own.name: own.annotation for own in (*kept, *flags)}
    return flagged
