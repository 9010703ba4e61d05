"""lm-eval's YAML files as plain values: includes merged in, code kept as its name, nothing run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from evomerge.errors import ScoringError

TaskConfig = dict[str, object]


@dataclass(frozen=True)
class Code:
    """What a YAML file calls `!function`: `module.function`, the module beside the file."""

    name: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"!function {self.name} in {self.path}, line {self.line}"


@dataclass(frozen=True)
class Yaml:
    """A file's values over those of the files it includes; where each of its keys stands."""

    config: TaskConfig
    places: dict[str, str]


def load_yaml(path: Path, including: tuple[Path, ...] = ()) -> Yaml:
    """Read a YAML file with its includes, as lm-eval merges them.

    Raises:
        ScoringError: it cannot be read, is no mapping, or includes itself.
    """
    if path in including:
        raise ScoringError(f"{path} includes itself by way of {including[-1]}")
    own = _load_one(path)
    includes = own.config.pop("include", [])
    config: TaskConfig = {}
    places: dict[str, str] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        included = load_yaml((path.parent / str(name)).resolve(), (*including, path))
        config |= included.config
        places |= included.places
    return Yaml(config | own.config, places | own.places)


def code_in(value: object) -> Iterator[Code]:
    """Every piece of code that a value of a YAML file names."""
    if isinstance(value, Code):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from code_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from code_in(inner)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A YAML loader that keeps lm-eval's `!function` as a name."""


def _keep_function(_loader: yaml.SafeLoader, node: yaml.Node) -> Code:
    return Code(str(node.value), Path(node.start_mark.name), node.start_mark.line + 1)


_Loader.add_constructor("!function", _keep_function)


def _load_one(path: Path) -> Yaml:
    try:
        with path.open(encoding="utf-8") as file:
            loader = _Loader(file)
            node = loader.get_single_node()
            config = None if node is None else loader.construct_document(node)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ScoringError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(config, dict):
        raise ScoringError(f"{path} holds no task, expected a YAML mapping")
    places = {key.value: f"{path}, line {key.start_mark.line + 1}" for key, _ in node.value}
    return Yaml(config, places)
