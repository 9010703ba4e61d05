"""What the configuration of a model says about its vocabulary, and says with another one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from evomerge.checkpoint.files import GENERATION, read_json

_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class Configured(Protocol):
    """A model's folder and its config.json."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config.json."""


def vocabulary_size(config: Mapping[str, Any]) -> int | None:
    """How many tokens config.json says there are, at its top or for the text part of a model."""
    for part in (config, config.get("text_config")):
        if isinstance(part, Mapping) and isinstance(part.get("vocab_size"), int):
            return int(part["vocab_size"])
    return None


def config_changes(model: Configured, owner: Configured, n_rows: int) -> dict[str, Any]:
    """What config.json of a model says otherwise with another's vocabulary of `n_rows` rows."""
    config = model.config
    if owner is model and vocabulary_size(config) == n_rows:
        return {}
    special = {} if owner is model else special_ids(owner.config)
    changes: dict[str, Any] = {
        key: i for key, i in special.items() if key in config or i is not None
    }
    text = config.get("text_config")
    if isinstance(text, Mapping):
        own = {key: i for key, i in special.items() if key in text}
        changes["text_config"] = {**text, **own, "vocab_size": n_rows}
    if "vocab_size" in config or not isinstance(text, Mapping):
        changes["vocab_size"] = n_rows
    return changes


def generation_document(model: Configured, owner: Configured) -> dict[str, str]:
    """generation_config.json of a model with the special tokens of another; empty if unchanged."""
    path, theirs = model.path / GENERATION, owner.path / GENERATION
    if owner is model or not path.is_file():
        return {}
    data = read_json(path)
    special = special_ids({**owner.config, **(read_json(theirs) if theirs.is_file() else {})})
    data |= {key: i for key, i in special.items() if key in data or i is not None}
    return {GENERATION: json.dumps(data, indent=2, ensure_ascii=False) + "\n"}


def special_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """The ids of special tokens that a config names, at its top or in its text part; else null."""
    text = config.get("text_config")
    known = {**(text if isinstance(text, Mapping) else {}), **config}
    return {key: known.get(key) for key in _SPECIAL_IDS}
