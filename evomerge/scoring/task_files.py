"""lm-eval's tasks and groups as plain files: found and read without lm-eval and without code.

A task of lm-eval is a YAML file. A folder of them (with its sub-folders) is a `tasks_path`. Data
files may be named relative to the YAML that names them; lm-eval itself resolves them against the
working directory, so they are made absolute here, where the file exists beside the YAML.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from evomerge.errors import ScoringError
from evomerge.scoring.task_yaml import TaskConfig, load_yaml

_IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}
FILE_FORMATS = {"json", "csv", "parquet", "arrow", "text"}
_NAME_LINE = re.compile(rb"""^["']?(?:task|group)["']?:[ \t]*["']?([^\s"'#\[]+)""", re.MULTILINE)


@dataclass(frozen=True)
class LocalTask:
    """A task's YAML with its includes merged in and its data files made absolute.

    `places` tells in which file and line each key of it stands.
    """

    name: str
    path: Path
    config: TaskConfig
    places: Mapping[str, str]

    @property
    def dataset_kwargs(self) -> Mapping[str, object]:
        """What `datasets` is told beside the dataset's name."""
        return _dataset_kwargs(self.config)

    @property
    def data_files(self) -> tuple[Path, ...]:
        """The files the task reads its documents from."""
        return tuple(_file_names(self.dataset_kwargs.get("data_files")))

    @property
    def document_files(self) -> tuple[Path, ...]:
        """The files that hold the scored documents, where the YAML names them by split."""
        data_files = self.dataset_kwargs.get("data_files")
        split = self.config.get("test_split") or self.config.get("validation_split")
        named = data_files.get(split) if isinstance(data_files, Mapping) else None
        return tuple(_file_names(named))

    @property
    def output_type(self) -> str:
        """What a model is asked of each document; lm-eval's default where the YAML names none."""
        return str(self.config.get("output_type", "generate_until"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names in the task's metric list; empty where it relies on lm-eval's defaults."""
        entries = self.config.get("metric_list") or []
        names = [entry.get("metric") for entry in entries] if isinstance(entries, list) else []
        return tuple(name for name in names if isinstance(name, str))


def find_tasks(tasks_path: Path) -> dict[str, Path]:
    """The name of every task and group under a folder, and the YAML file that defines it.

    Raises:
        ScoringError: the folder does not exist, or two files define the same name.
    """
    if not tasks_path.is_dir():
        raise ScoringError(f"tasks_path {tasks_path} is not a folder; expected lm-eval YAML files")
    found: dict[str, Path] = {}
    for path in sorted(tasks_path.glob("**/*.yaml")):
        name = None if _IGNORED_FOLDERS & set(path.parts) else _task_name(path)
        if name is None:
            continue
        if name in found:
            raise ScoringError(
                f"task {name!r} is defined twice, in {found[name]} and in {path}; rename one"
            )
        found[name] = path
    return found


def bundled_folder() -> Path:
    """Where the tasks lie that lm-eval brings."""
    spec = find_spec("lm_eval")
    return Path(spec.origin).parent / "tasks" if spec and spec.origin else Path("lm_eval")


@cache
def bundled_tasks() -> dict[str, Path]:
    """The YAML file of every task and group that lm-eval brings, found without importing it.

    Its 14,000 files are searched for the line that names the task: a second, where parsing them
    takes lm-eval ten.
    """
    found: dict[str, Path] = {}
    for path in sorted(bundled_folder().rglob("*.yaml")):
        for name in _NAME_LINE.findall(path.read_bytes()):
            found.setdefault(name.decode(), path)
    return found


def read_task(path: Path, overrides: TaskConfig | None = None) -> LocalTask:
    """Read a task's YAML without running anything it names.

    Args:
        path: the YAML.
        overrides: what a group has instead of some of its values.

    Raises:
        ScoringError: it cannot be parsed, or defines no single task.
    """
    own = load_yaml(path)
    return make_task(own.config | (overrides or {}), path, own.places)


def make_task(config: TaskConfig, path: Path, places: Mapping[str, str]) -> LocalTask:
    """A task from the values in a YAML file.

    Raises:
        ScoringError: the file defines no single task.
    """
    name = config.get("task")
    if not isinstance(name, str):
        raise ScoringError(f"{path} defines no single task (task: {name!r}), expected a name")
    own = {key: value for key, value in config.items() if key not in ("tag", "group", "task_list")}
    return LocalTask(name, path, with_absolute_files(own, path.parent), places)


def with_absolute_files(config: TaskConfig, folder: Path) -> TaskConfig:
    """The config with the data files absolute that lie in this folder, where its YAML does."""
    kwargs = dict(_dataset_kwargs(config))
    if "data_files" not in kwargs or config.get("dataset_path", "json") not in FILE_FORMATS:
        return config
    return config | {
        "dataset_kwargs": kwargs | {"data_files": _resolve(kwargs["data_files"], folder)}
    }


def _task_name(path: Path) -> str | None:
    """The top-level `task` of a YAML, or its `group`, read without judging the rest of the file."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        # Nobody may want this one; who wants the task of that name is told what is wrong.
        return path.stem
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    values = {key.value: value.value for key, value in pairs}
    names = [name for key in ("task", "group") if isinstance(name := values.get(key), str)]
    return names[0] if names else None


def _dataset_kwargs(config: TaskConfig) -> Mapping[str, object]:
    kwargs = config.get("dataset_kwargs")
    return kwargs if isinstance(kwargs, Mapping) else {}


def _file_names(data_files: object) -> Iterator[Path]:
    if isinstance(data_files, str):
        yield Path(data_files)
    elif isinstance(data_files, Mapping):
        for value in data_files.values():
            yield from _file_names(value)
    elif isinstance(data_files, list):
        for value in data_files:
            yield from _file_names(value)


def _resolve(data_files: object, folder: Path) -> object:
    if isinstance(data_files, Mapping):
        return {split: _resolve(value, folder) for split, value in data_files.items()}
    if isinstance(data_files, list):
        return [_resolve(value, folder) for value in data_files]
    if isinstance(data_files, str) and not Path(data_files).is_absolute():
        # lm-eval allows patterns: an absolute one finds the same files from anywhere.
        return str(folder.resolve() / data_files) if any(folder.glob(data_files)) else data_files
    return data_files
