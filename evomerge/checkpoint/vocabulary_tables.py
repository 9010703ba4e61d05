"""The tensors of a model that have a row for each token: embeddings and output projections."""

import re
from collections.abc import Mapping
from typing import Any

from evomerge.checkpoint.vocabulary_config import vocabulary_size
from evomerge.records import TensorInfo

_HEAD = re.compile(r"head$|^embed_out$|^output$|predictions")
_TABLE = re.compile(rf"emb|wte|^shared$|{_HEAD.pattern}")
_NO_TABLE = re.compile(r"pos|wpe|rotary|type|norm|patch|vision|visual|audio|image")


def vocabulary_tables(
    infos: Mapping[str, TensorInfo], config: Mapping[str, Any]
) -> tuple[tuple[str, ...], int]:
    """The names of a model's vocabulary tables, biases of heads included, and their rows.

    A table is named like an embedding or a head, and has as many rows as config.json says
    there are tokens; where config.json leaves that open, as many as the first embedding.

    Returns:
        names in the checkpoint's order, and the number of rows; `((), 0)` for a model without.
    """
    rows = {name: info.shape[0] for name, info in infos.items() if info.shape and _may_be(name)}
    n_rows = vocabulary_size(config)
    if n_rows not in rows.values():
        n_rows = next((n for name, n in rows.items() if len(infos[name].shape) == 2), 0)
    return tuple(name for name, n in rows.items() if n == n_rows and n), n_rows or 0


def is_head(name: str) -> bool:
    """Whether a vocabulary table is an output projection rather than an embedding."""
    return any(map(_HEAD.search, name.split(".")))


def _may_be(name: str) -> bool:
    parts = name.split(".")
    return any(map(_TABLE.search, parts)) and not any(map(_NO_TABLE.search, parts))
