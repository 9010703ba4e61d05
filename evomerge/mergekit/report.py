"""Everything wrong with a configuration, each problem with its place."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from evomerge.errors import Problem

_MOST_SHOWN = 60

KeyPath = tuple[str | int, ...]
Locate = Callable[[KeyPath, str], Problem]
"""Makes a problem of the place of a key and a message."""


class Report:
    """Collects problems while a configuration is read."""

    def __init__(self, locate: Locate) -> None:
        self.problems: list[Problem] = []
        self._locate = locate

    def add(self, path: KeyPath, message: str) -> None:
        """Note a problem with the key at `path`."""
        self.problems.append(self._locate(path, message))

    def mapping(self, path: KeyPath, node: Any, keys: Iterable[str]) -> Mapping[str, Any]:
        """The mapping at `path`; what it may not have is a problem, and left out."""
        if node is None:
            return {}
        if not isinstance(node, Mapping):
            self.add(path, f"found {node!r}, expected a mapping with {', '.join(keys)}")
            return {}
        known = tuple(keys)
        for key in node:
            if key not in known:
                self.add((*path, key), f"unknown key; {expected_one_of(key, known)}")
        return {key: value for key, value in node.items() if key in known}

    def items(self, path: KeyPath, node: Any, what: str) -> list[Any]:
        """The list at `path`, of one item or more."""
        if isinstance(node, list) and node:
            return node
        self.add(path, f"found {node!r}, expected a list of {what}")
        return []

    def choice(self, path: KeyPath, node: Any, names: Iterable[str]) -> str | None:
        """The word at `path`, one of `names`."""
        known = tuple(names)
        if isinstance(node, str) and node in known:
            return node
        self.add(path, f"found {node!r}; {expected_one_of(str(node), known)}")
        return None


def expected_one_of(found: str, names: Iterable[str]) -> str:
    """`expected one of …; did you mean …?` for a name that is none of `names`."""
    known = list(names)
    close = nearest(found, known)
    return f"expected one of {', '.join(known)}{f'; did you mean `{close}`?' if close else ''}"


def nearest(found: str, names: Iterable[str]) -> str | None:
    """The name that a misspelled one probably is."""
    return next(iter(get_close_matches(found, list(names), n=1, cutoff=0.5)), None)


def shown(node: Any) -> str:
    """A value for a message; of a long one, only what it is."""
    return repr(node) if len(repr(node)) <= _MOST_SHOWN else f"a {type(node).__name__}"
