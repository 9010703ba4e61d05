"""YAML without its traps: plain data with the line of every key, and nothing that can hurt.

Refused: tags (they construct objects), duplicate keys, more than `MAX_ALIASES` aliases (a small
file can expand to gigabytes), nesting deeper than `MAX_DEPTH`, files over `MAX_BYTES`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from evomerge.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_ALIASES = 16
_KEYS = "`base:` and `experts:`"
UNREADABLE = (YAMLError, ValueError, RecursionError)
"""What ruamel raises on text that is no YAML, no number or date, or nested into itself."""

KeyPath = tuple[str | int, ...]
Positions = Mapping[KeyPath, tuple[int, int]]


@dataclass(frozen=True)
class Document:
    """Plain data read from YAML, and the (line, column) of each key and item, counted from 1."""

    data: dict[str, Any]
    positions: Positions


def read_document(path: Path, kind: str = "an experiment file", keys: str = _KEYS) -> Document:
    """The mapping that the file holds, with positions.

    Args:
        path: the file.
        kind: what the file should be, for the message if there is none.
        keys: some that it should have, for the message if it has none.

    Raises:
        ConfigError: the file cannot be read, is not a mapping, or uses a refused feature.
    """
    text = _read_text(path, kind)
    try:
        _refuse_dangerous_features(YAML(typ="rt", pure=True).parse(text), str(path))
        loaded = YAML(typ="rt", pure=True).load(text)
    except DuplicateKeyError as error:
        raise _located(path, error, "duplicate key: keep one of the two") from error
    except MarkedYAMLError as error:
        raise _located(path, error, f"not valid YAML: {error.problem or error}") from error
    except UNREADABLE as error:
        raise _refusal(str(path), f"not valid YAML: {error}") from error
    if not isinstance(loaded, CommentedMap):
        found = "an empty file" if loaded is None else "no mapping"
        raise _refusal(str(path), f"{found}; expected keys such as {keys}")
    positions: dict[KeyPath, tuple[int, int]] = {}
    try:
        _collect_positions(loaded, (), positions)
        return Document(_plain(loaded), positions)
    except RecursionError as error:
        raise _refusal(str(path), "an alias holds itself: write values out") from error


def _read_text(path: Path, kind: str) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise _refusal(str(path), f"no such file; expected {kind} (YAML)") from error
    except OSError as error:
        raise _refusal(str(path), f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise _refusal(str(path), f"has {len(raw)} bytes; {kind} has at most {MAX_BYTES}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(str(path), f"is not UTF-8 text (byte {error.start})") from error


def _refuse_dangerous_features(events: Iterable[Event], path: str) -> None:
    depth = n_aliases = 0
    for event in events:
        where = f"{path}:{event.start_mark.line + 1}"
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        elif isinstance(event, AliasEvent):
            n_aliases += 1
        if depth > MAX_DEPTH:
            raise _refusal(where, f"nested deeper than {MAX_DEPTH} levels")
        if n_aliases > MAX_ALIASES:
            raise _refusal(where, f"more than {MAX_ALIASES} aliases (`*name`): write values out")
        tag = getattr(event, "tag", None)
        starts_node = isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent)
        if starts_node and tag is not None:
            raise _refusal(where, f"the tag `{tag}` is refused: only plain data is read")


def _collect_positions(node: Any, path: KeyPath, positions: dict[KeyPath, tuple[int, int]]) -> None:
    if isinstance(node, CommentedMap):
        children: Iterable[tuple[Any, Any, Any]] = (
            # What a merge key (`<<: *name`) brings stands elsewhere and has no position here.
            (key, value, node.lc.key(key))
            for key, value in node.items()
            if key in (node.lc.data or {})
        )
    elif isinstance(node, CommentedSeq):
        children = ((index, value, node.lc.item(index)) for index, value in enumerate(node))
    else:
        return
    for key, value, (line, column) in children:
        positions[(*path, key)] = (line + 1, column + 1)
        _collect_positions(value, (*path, key), positions)


def _plain(node: Any) -> Any:
    """Python's own types instead of ruamel's subclasses of them."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def parse_value(text: str) -> Any:
    """The plain value that `text` means in YAML, as in `--set key=text`.

    Raises:
        ConfigError: `text` is no YAML, or uses a refused feature.
    """
    try:
        _refuse_dangerous_features(YAML(typ="rt", pure=True).parse(text), "--set")
        return _plain(YAML(typ="rt", pure=True).load(text))
    except UNREADABLE as error:
        raise _refusal("--set", f"`{text[:80]}` is not a YAML value that can be used") from error


def _located(path: Path, error: MarkedYAMLError, message: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    return _refusal(where, message)


def _refusal(where: str, message: str) -> ConfigError:
    return ConfigError([Problem(where, message)])
