"""Nested plain values as flat names and texts, the form of MLflow's parameters."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

VALUE_LIMIT = 6000
"""The longest text that MLflow stores for a parameter."""


def flatten(values: Mapping[str, Any]) -> dict[str, str]:
    """Dotted names with texts: `{"search": {"window": 8}}` becomes `{"search.window": "8"}`.

    Lists of plain values stay together as JSON; lists of mappings are numbered from 0. A text
    beyond MLflow's limit is cut and ends with an ellipsis.
    """
    return {name: _cut(text) for name, text in _leaves("", values)}


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{prefix}.{index}", inner)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"
