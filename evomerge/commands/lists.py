"""The commands that list what there is to choose from."""

from evomerge.commands.shared import (
    AsJson,
    print_value,
)


def methods(as_json: AsJson = False) -> None:
    """List the merge methods with their parameters.

    Example: evomerge methods
    """
    from evomerge.run.listings import method_rows, print_methods

    print_value(method_rows(), as_json, print_methods)


def controllers(as_json: AsJson = False) -> None:
    """List the search controllers.

    Example: evomerge controllers
    """
    from evomerge.run.listings import controller_rows, print_controllers

    print_value(controller_rows(), as_json, print_controllers)
