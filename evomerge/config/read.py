"""Read an experiment file: overrides applied, paths made absolute, every problem located."""

import difflib
import itertools
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from evomerge.config.experiment import Experiment
from evomerge.config.strict_yaml import Document, KeyPath, parse_value, read_document
from evomerge.errors import ConfigError, Problem

PATH_KEYS: tuple[KeyPath, ...] = (
    ("base",),
    ("experts",),
    ("tasks_path",),
    ("scoring", "bank"),
    ("merge", "statistics", "folder"),
    ("merge", "statistics", "texts"),
)
"""Keys of a path, or of paths by name, relative to the file."""
OBJECTIVE_PATH_KEYS = ("text", "test_text")
"""Keys of a path in each objective."""


@dataclass(frozen=True)
class Located:
    """Where the values of an experiment came from, for messages that point at them."""

    file: Path
    document: Document
    overridden: frozenset[KeyPath] = frozenset()

    def where(self, *path: str | int) -> str:
        """`file:line:column` of a key, or of the nearest key above it that is written down."""
        for length in range(len(path), 0, -1):
            prefix = tuple(path[:length])
            if prefix in self.overridden:
                return f"--set {'.'.join(map(str, prefix))}"
            if prefix in self.document.positions:
                line, column = self.document.positions[prefix]
                return f"{self.file}:{line}:{column}"
        return str(self.file)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem with the key at `path`."""
        return Problem(self.where(*path), f"{dotted(path)}: {message}" if path else message)


@dataclass(frozen=True)
class Reading:
    """What an experiment file says, as far as it could be understood.

    `experiment` leaves out what is wrong, so that the rest can be checked in the same go; it is
    None where something required is missing.
    """

    experiment: Experiment | None
    problems: tuple[Problem, ...]
    located: Located


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Reading:
    """Read the file, apply `key.path=value` overrides, and collect every problem of form.

    Raises:
        ConfigError: the file is no plain YAML mapping, or an override is malformed.
    """
    document = read_document(path)
    data, overridden = _apply_overrides(document.data, overrides)
    located = Located(path, document, overridden)
    absolute = _absolute_paths(data, path.resolve().parent)
    try:
        return Reading(Experiment.model_validate(absolute), (), located)
    except ValidationError as error:
        problems = tuple(_explain(located, detail) for detail in error.errors())
        return Reading(_understand_rest(absolute, error), problems, located)


def _apply_overrides(
    data: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], frozenset[KeyPath]]:
    paths = []
    for override in overrides:
        key, separator, text = override.partition("=")
        steps = _steps(key.strip())
        if not separator or "" in steps:
            problem = f"found `{override}`, expected `key.path=value`, as in `seed=1`"
            raise ConfigError([Problem("--set", problem)])
        data = _replaced(data, steps, parse_value(text))
        paths.append(steps)
    return data, frozenset(paths)


def _steps(key: str) -> KeyPath:
    return tuple(int(step) if step.isdecimal() else step for step in key.split("."))


def _replaced(node: Any, steps: KeyPath, value: Any) -> Any:
    """A copy of `node` with the value at `steps` replaced; missing mappings are made."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(node, list) and isinstance(step, int) and step < len(node):
        return [*node[:step], _replaced(node[step], rest, value), *node[step + 1 :]]
    if node is None or isinstance(node, dict):
        children = node or {}
        return {**children, str(step): _replaced(children.get(str(step)), rest, value)}
    raise ConfigError([Problem("--set", f"there is nothing to set at `{step}` ({dotted(steps)})")])


def _absolute_paths(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    objectives = data.get("objectives")
    n_objectives = len(objectives) if isinstance(objectives, list) else 0
    of_objectives = itertools.product(["objectives"], range(n_objectives), OBJECTIVE_PATH_KEYS)
    for key in (*PATH_KEYS, *of_objectives):
        found = _found(data, key)
        if isinstance(found, str):
            data = _replaced(data, key, str(folder / found))
        elif isinstance(found, dict):
            paths = {
                name: str(folder / value) if isinstance(value, str) else value
                for name, value in found.items()
            }
            data = _replaced(data, key, paths)
    return data


def _found(node: Any, steps: KeyPath) -> Any:
    """The value at `steps`; None where there is none."""
    for step in steps:
        if isinstance(node, list) and isinstance(step, int):
            node = node[step]
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


def _understand_rest(data: Any, error: ValidationError) -> Experiment | None:
    """The experiment without the values that `error` complains about, if that makes one."""
    for detail in error.errors():
        if detail["type"] != "missing":
            data = _without(data, detail["loc"])
    try:
        return Experiment.model_validate(data)
    except ValidationError:
        return None


def _without(node: Any, steps: KeyPath) -> Any:
    if isinstance(node, dict) and steps and steps[0] in node:
        if len(steps) == 1:
            return {key: value for key, value in node.items() if key != steps[0]}
        return {**node, steps[0]: _without(node[steps[0]], steps[1:])}
    if isinstance(node, list) and len(steps) > 1 and isinstance(steps[0], int):
        return [
            _without(value, steps[1:]) if index == steps[0] else value
            for index, value in enumerate(node)
        ]
    return node


def _explain(located: Located, detail: Any) -> Problem:
    path: KeyPath = detail["loc"]
    if detail["type"] == "extra_forbidden":
        names = known_keys(path[:-1])
        return located.problem(path, f"unknown key; {expected_one_of(str(path[-1]), names)}")
    if detail["type"] == "missing":
        return located.problem(path, "is missing and has no default; add it")
    if path and path[-1] == "[key]":
        path = path[:-1]
    return located.problem(path, f"found {detail['input']!r}; {detail['msg']}")


def known_keys(path: KeyPath) -> tuple[str, ...]:
    """The keys that the experiment file may have below `path`."""
    model: type[BaseModel] = Experiment
    for step in path:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        inner = _section_in(field.annotation) if field else None
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def expected_one_of(found: str, names: Sequence[str]) -> str:
    """`expected one of …; did you mean …?` for a name that is none of `names`."""
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"expected one of {', '.join(names)}{hint}"


def dotted(path: KeyPath) -> str:
    """`objectives[0].task` for `("objectives", 0, "task")`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")
