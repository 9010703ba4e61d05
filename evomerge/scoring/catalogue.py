"""Every task and group that can be named: those of a folder, then those that lm-eval brings."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evomerge.errors import ScoringError
from evomerge.scoring.task_files import (
    LocalTask,
    bundled_folder,
    bundled_tasks,
    find_tasks,
    make_task,
    read_task,
    with_absolute_files,
)
from evomerge.scoring.task_yaml import TaskConfig, load_yaml

_GROUP_KEYS = {"group", "group_alias", "task", "aggregate_metric_list", "metadata"}
"""What a group's YAML says of the group itself; everything else it says of its tasks."""
_INCLUDES = re.compile(rb"""^["']?include["']?:(.*(?:\n[ \t]*-.*)*)""", re.MULTILINE)
_FILE_NAME = re.compile(rb"""[^\s"',\[\]]{2,}""")


@dataclass(frozen=True)
class Aggregate:
    """An entry of a group's `aggregate_metric_list`: a mean of its tasks' scores.

    `filters` is empty where every filter of the metric counts.
    """

    metric: str
    filters: tuple[str, ...]
    weight_by_size: bool

    @property
    def wanted(self) -> str:
        """The metric of each task that it is the mean of, with its filter where one is named."""
        return ",".join((self.metric, *self.filters[:1]))


@dataclass(frozen=True)
class LocalGroup:
    """A group's YAML: its tasks, those of the groups within it included, as they are in it."""

    name: str
    path: Path
    config: TaskConfig
    tasks: tuple[LocalTask, ...]
    aggregates: tuple[Aggregate, ...]


class Catalogue:
    """The tasks and groups of a folder, and behind them those of lm-eval.

    Args:
        tasks_path: the folder; None for lm-eval's alone.

    Raises:
        ScoringError: the folder does not exist, or two of its files define the same name.
    """

    def __init__(self, tasks_path: Path | None) -> None:
        self._tasks_path = tasks_path
        self._local = find_tasks(tasks_path) if tasks_path else {}

    def is_local(self, name: str) -> bool:
        """Whether the folder defines this name."""
        return name in self._local

    def read(self, name: str) -> LocalTask | LocalGroup:
        """The task or group of a name, read without running anything.

        Raises:
            ScoringError: there is none of this name, or its YAML cannot be used.
        """
        path = self._path(name)
        if path is None:
            raise unknown_task(name, bundled_tasks() | self._local, self._tasks_path)
        yaml = load_yaml(path)
        if "group" not in yaml.config or isinstance(yaml.config.get("task"), str):
            return make_task(yaml.config, path, yaml.places)
        tasks = tuple(self._members(name, path, yaml.config, {}))
        return LocalGroup(name, path, yaml.config, _distinct(name, tasks), _aggregates(yaml.config))

    def _path(self, name: str) -> Path | None:
        return self._local.get(name) or bundled_tasks().get(name)

    def _members(
        self, name: str, path: Path, config: TaskConfig, overrides: TaskConfig
    ) -> Iterator[LocalTask]:
        """The tasks of a group, with what the groups around them have instead of their values."""
        entries = config.get("task")
        if not isinstance(entries, list):
            raise ScoringError(f"group {name!r} in {path} has task: {entries!r}, expected a list")
        own = {key: value for key, value in config.items() if key not in _GROUP_KEYS}
        inherited = with_absolute_files(own, path.parent) | overrides
        for entry in entries:
            yield from self._member(name, path, entry, inherited)

    def _member(
        self, group: str, path: Path, entry: object, inherited: TaskConfig
    ) -> Iterator[LocalTask]:
        own = entry if isinstance(entry, dict) else {"task": entry}
        own = with_absolute_files(own, path.parent)
        if "group" in own and self._path(str(own["group"])) is None:
            yield from self._members(f"{group}::{own['group']}", path, own, inherited)
            return
        name = own.get("group", own.get("task"))
        if not isinstance(name, str):
            raise ScoringError(
                f"group {group!r} in {path} lists {entry!r}, expected the name of a task or group, "
                "or a mapping with `task` or `group`"
            )
        changes = {key: value for key, value in own.items() if key not in ("task", "group")}
        yield from self._named(group, path, name, inherited | changes)

    def _named(
        self, group: str, path: Path, name: str, overrides: TaskConfig
    ) -> Iterator[LocalTask]:
        found = self._path(name)
        if found is None:
            yield from self._tagged_or_inline(group, path, name, overrides)
            return
        yaml = load_yaml(found)
        if "group" in yaml.config and not isinstance(yaml.config.get("task"), str):
            yield from self._members(name, found, yaml.config, overrides)
        else:
            yield read_task(found, overrides)

    def _tagged_or_inline(
        self, group: str, path: Path, name: str, overrides: TaskConfig
    ) -> Iterator[LocalTask]:
        tagged = self._tagged(name)
        if not tagged and "output_type" not in overrides and "doc_to_text" not in overrides:
            error = unknown_task(name, bundled_tasks() | self._local, self._tasks_path)
            raise ScoringError(f"group {group!r} in {path}: {error}")
        if not tagged:
            places = dict.fromkeys(overrides, str(path))
            yield make_task(overrides | {"task": f"{group}::{name}"}, path, places)
        for _, found in sorted(tagged.items()):
            yield read_task(found, overrides)

    def _tagged(self, tag: str) -> dict[str, Path]:
        """The tasks with a tag, by name: those of the folder, else those of lm-eval."""
        local = dict(_with_tag(tag, _texts(self._tasks_path))) if self._tasks_path else {}
        return local or dict(_with_tag(tag, self._bundled_texts))

    @cached_property
    def _bundled_texts(self) -> Mapping[Path, bytes]:
        return _texts(bundled_folder())


def unknown_task(name: str, known: Iterable[str], tasks_path: Path | None) -> ScoringError:
    """The error for a task that nobody defines, with the nearest names."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    where = f"{tasks_path} or lm-eval itself" if tasks_path else "lm-eval (no tasks_path is given)"
    return ScoringError(f"task {name!r} was not found in {where}{hint}")


def _texts(folder: Path) -> Mapping[Path, bytes]:
    """Every YAML file and template under a folder."""
    paths = [path for path in folder.absolute().rglob("*") if path.suffix in ("", ".yaml")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def _with_tag(tag: str, texts: Mapping[Path, bytes]) -> Iterator[tuple[str, Path]]:
    """The tasks among YAML files that have a tag, in their own file or in one that it includes.

    Only files with this word in them, and those that include such files, are parsed.
    """
    having = {path for path, text in texts.items() if tag.encode() in text}
    including = {path: _included(path, text) for path, text in texts.items() if path not in having}
    while more := {path for path, included in including.items() if included & having} - having:
        having |= more
    for path in sorted(path for path in having if path.suffix == ".yaml"):
        config = load_yaml(path).config
        tags = config.get("tag")
        name = config.get("task")
        if isinstance(name, str) and tag in (tags if isinstance(tags, list) else [tags]):
            yield name, path


def _included(path: Path, text: bytes) -> set[Path]:
    names = [name for line in _INCLUDES.findall(text) for name in _FILE_NAME.findall(line)]
    return {Path(os.path.normpath(path.parent / name.decode())) for name in names}


def _distinct(name: str, tasks: tuple[LocalTask, ...]) -> tuple[LocalTask, ...]:
    names = [task.name for task in tasks]
    if again := [task for task in names if names.count(task) > 1]:
        raise ScoringError(
            f"group {name!r} has task {again[0]!r} more than once; every task is scored once"
        )
    return tasks


def _aggregates(config: TaskConfig) -> tuple[Aggregate, ...]:
    entries = config.get("aggregate_metric_list") or []
    listed = entries if isinstance(entries, list) else [entries]
    return tuple(_aggregate(entry) for entry in listed if isinstance(entry, Mapping))


def _aggregate(entry: Mapping[str, object]) -> Aggregate:
    if entry.get("aggregation", "mean") != "mean":
        raise ScoringError(
            f"a group has aggregation {entry['aggregation']}, expected mean, which is the only one "
            "that lm-eval knows"
        )
    filters = entry.get("filter_list") or ()
    names = [filters] if isinstance(filters, str) else filters
    weighted = entry.get("weight_by_size", True) is not False
    return Aggregate(str(entry.get("metric")), tuple(map(str, names)), weighted)  # type: ignore[call-overload]
