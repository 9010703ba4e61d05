"""`methods`, `controllers`, `schema`: the tables that an experiment file chooses from."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from evomerge.config.experiment import Experiment
from evomerge.merge.methods import METHODS
from evomerge.merge.rules import RULES
from evomerge.search.table import CONTROLLERS


def method_rows() -> list[dict[str, Any]]:
    """Every merge method with its parameters, then every weight rule, as JSON values."""
    methods = [
        {
            "kind": "method",
            "name": method.name,
            "definition": method.definition,
            "summary": method.summary,
            "reference": method.reference,
            "traits": list(method.traits),
            "parameters": [
                {
                    "name": parameter.name,
                    "low": parameter.low,
                    "high": parameter.high,
                    "default": parameter.default,
                    "per_expert": parameter.per_expert,
                    "scale": parameter.scale,
                    "description": parameter.description,
                }
                for parameter in method.parameters
            ],
        }
        for method in METHODS.values()
    ]
    rules = [
        {
            "kind": "weight rule",
            "name": rule.name,
            "call": rule.call,
            "summary": rule.summary,
            "reference": rule.reference,
        }
        for rule in RULES.values()
    ]
    return methods + rules


def print_methods(rows: Sequence[dict[str, Any]]) -> None:
    """Print each method with its parameters below it, and each weight rule with its call."""
    console = Console(highlight=False)
    for row in rows:
        if row["kind"] == "method":
            _print_method(console, row)
    console.print(
        "\nweight rules, coefficients of [bold]linear[/] from numbers alone: evomerge.merge.rules"
    )
    for row in rows:
        if row["kind"] == "weight rule":
            console.print(f"[bold]{row['call']}[/]  {row['summary']}  {row['reference']}")


def _print_method(console: Console, row: dict[str, Any]) -> None:
    console.print(f"[bold]{row['name']}[/]  {row['summary']}  {row['reference']}")
    if row["traits"]:
        console.print(f"    {', '.join(row['traits'])}")
    for p in row["parameters"]:
        whose = "per expert" if p["per_expert"] else "global"
        scale = " log" if p["scale"] == "log" else ""
        bounds = rf"\[{p['low']:g}, {p['high']:g}]{scale}"
        console.print(
            f"    {p['name']:<12} {bounds:<12} default {p['default']:g}, {whose}: "
            f"{p['description']}"
        )


def controller_rows() -> list[dict[str, Any]]:
    """Every search controller, as JSON values."""
    return [
        {"name": spec.name, "description": spec.description, "reference": spec.reference}
        for spec in CONTROLLERS.values()
    ]


def print_controllers(rows: Sequence[dict[str, Any]]) -> None:
    """Print each controller on a line."""
    console = Console(highlight=False)
    for row in rows:
        console.print(f"[bold]{row['name']}[/]  {row['description']}  {row['reference']}")


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema of the experiment file, with the names of the tables filled in."""
    schema = Experiment.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"]["Merge"]["properties"]["method"]["enum"] = list(METHODS)
    schema["$defs"]["Search"]["properties"]["controller"]["enum"] = list(CONTROLLERS)
    return schema
