"""`methods`, `controllers`, `schema`: the tables that an experiment file chooses from."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from evomerge.config.experiment import Experiment
from evomerge.merge.methods import METHODS
from evomerge.merge.parameters import Parameter
from evomerge.merge.posts import POSTS
from evomerge.merge.rules import RULES, WeightRule
from evomerge.merge.wrappers import WRAPPERS
from evomerge.search.table import CONTROLLERS

_HEADINGS = {
    "method": "Merge methods: `method: NAME`, or several to choose from",
    "basis": "Bases, around the name of a method that merges the entries of task vectors",
    "post-stage": "Post-stages, behind any method's name and behind each other",
    "structure": "Structure, with `evomerge merge`: slices of a configuration of mergekit",
    "weight rule": "Weight rules: coefficients of `linear`, functions of evomerge.merge.rules",
}


_PASSTHROUGH = {
    "kind": "structure",
    "name": "passthrough",
    "definition": "mergekit",
    "summary": "Layers of models stacked along a path, scaled: frankenmerge, depth up-scaling.",
    "reference": "https://arxiv.org/abs/2312.15166",
    "traits": ["another number of layers than the base's"],
    "parameters": [],
}


def method_rows() -> list[dict[str, Any]]:
    """Every method with its parameters, basis, stage that may follow, structure and rule."""
    methods = [
        {
            "kind": "method",
            "name": method.name,
            "definition": method.definition,
            "summary": method.summary,
            "reference": method.reference,
            "traits": list(method.traits),
            "parameters": _parameters(method.parameters),
        }
        for method in METHODS.values()
    ]
    bases = [
        {
            "kind": "basis",
            "name": f"{wrapper.name}(METHOD)",
            "definition": "paper",
            "summary": wrapper.summary,
            "reference": wrapper.reference,
            "traits": ["matrices as a whole"],
            "parameters": [],
        }
        for wrapper in WRAPPERS.values()
    ]
    posts = [
        {
            "kind": "post-stage",
            "name": f"METHOD+{post.name}",
            "definition": "paper",
            "summary": post.summary,
            "reference": post.reference,
            "traits": list(post.traits),
            "parameters": _parameters(post.parameters),
        }
        for post in POSTS.values()
    ]
    return [*methods, *bases, *posts, _PASSTHROUGH, *map(_rule_row, RULES.values())]


def _rule_row(rule: WeightRule) -> dict[str, Any]:
    return {
        "kind": "weight rule",
        "name": rule.name,
        "call": rule.call,
        "summary": rule.summary,
        "reference": rule.reference,
    }


def _parameters(parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "low": parameter.low,
            "high": parameter.high,
            "default": parameter.default,
            "per_expert": parameter.per_expert,
            "scale": parameter.scale,
            "description": parameter.description,
        }
        for parameter in parameters
    ]


def print_methods(rows: Sequence[dict[str, Any]]) -> None:
    """Print each method, basis and stage with its parameters, and each rule with its call."""
    console = Console(highlight=False)
    for kind, heading in _HEADINGS.items():
        console.print(f"{heading}\n")
        for row in rows:
            if row["kind"] == kind == "weight rule":
                console.print(f"[bold]{row['call']}[/]  {row['summary']}  {row['reference']}")
            elif row["kind"] == kind:
                _print_method(console, row)
        console.print()


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
    """The JSON Schema of the experiment file, with the names of the tables filled in.

    Methods are examples rather than all that there is: they may have stages behind their names.
    """
    schema = Experiment.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"]["Merge"]["properties"]["method"]["examples"] = list(METHODS)
    schema["$defs"]["Search"]["properties"]["controller"]["enum"] = list(CONTROLLERS)
    return schema
