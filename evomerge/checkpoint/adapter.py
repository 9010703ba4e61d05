"""An adapter (LoRA and its kin) as a model: its base, changed where the adapter changes it."""

from pathlib import Path

import torch
from torch import Tensor

from evomerge.checkpoint.adapter_changes import Change, Changes, find_changes
from evomerge.checkpoint.adapter_formulas import low_rank
from evomerge.checkpoint.files import is_adapter
from evomerge.checkpoint.reader import HEADS, Checkpoint, open_adapter_file, open_checkpoint
from evomerge.checkpoint.vocabulary_tables import vocabulary_tables
from evomerge.records import TensorInfo, TensorSource


class AdaptedModel:
    """A base with an adapter, opened but not merged: a `LowRankSource`.

    A tensor that the adapter changes is computed when it is read, in float32, and says so in its
    info; every other tensor is the base's own.

    Args:
        base: what the adapter was trained on.
        stored: the adapter's own file.
        changes: what it does to the base.
    """

    def __init__(self, base: Checkpoint, stored: Checkpoint, changes: Changes) -> None:
        self.path = stored.path
        self.config = base.config
        self.stored = stored
        self._base = base
        self._replaced = changes.replaced
        self._changed = changes.changed
        self._infos = {name: self._info(info) for name, info in base.infos().items()}

    def infos(self) -> dict[str, TensorInfo]:
        """Every tensor's name, shape and dtype, in the base's order."""
        return self._infos

    def read(self, name: str) -> Tensor:
        """The tensor with the adapter's change: read it, never write to it.

        Raises:
            ModelError: there is no such tensor.
        """
        own = self._replaced.get(name)
        values = self._base.read(name) if own is None else self.stored.read(own)
        change = self._changed.get(name)
        return values if change is None else change.apply(values.float(), self._parts(change))

    def factors(self, name: str) -> tuple[Tensor, Tensor] | None:
        """B `(m, r)`, with the scale, and A `(r, n)` float32 with τ = B A.

        None where τ is zero or is not stored as a product.
        """
        change = self._changed.get(name)
        if change is None or name in self._replaced:
            return None
        found = low_rank(self._parts(change), change.scale)
        if found is None or not change.is_transposed:
            return found
        return found[1].T, found[0].T

    def _parts(self, change: Change) -> dict[str, Tensor]:
        return {part: self.stored.read(name).float() for part, name in change.parts.items()}

    def _info(self, info: TensorInfo) -> TensorInfo:
        own = self._replaced.get(info.name)
        values = info if own is None else self.stored.infos()[own]
        dtype = torch.float32 if info.name in self._changed else values.dtype
        return TensorInfo(info.name, values.shape, dtype)


OpenModel = Checkpoint | AdaptedModel


def open_model(path: Path, base: Checkpoint) -> OpenModel:
    """Open an expert: a model folder, or the folder of an adapter of the base.

    An expert that ties its head to its embedding, beside a base that does not, has the embedding
    under both names: that is what it computes with.

    Raises:
        ModelError: the folder or its files are missing, damaged or not what they claim to be; the
            adapter is of a kind that is no plain change of weights, or changes what the base does
            not have.
        ShapeError: the adapter does not fit the base's shapes.
    """
    stored = open_stored(path)
    if is_adapter(path):
        return AdaptedModel(base, stored, find_changes(base, stored))
    return untied(stored, base)


def open_stored(path: Path) -> Checkpoint:
    """Open what a folder holds: a model, or an adapter's own tensors without its base.

    Raises:
        ModelError: the folder or its files are missing, damaged or not what they claim to be.
    """
    return open_adapter_file(path) if is_adapter(path) else open_checkpoint(path)


def untied(expert: Checkpoint, base: TensorSource) -> Checkpoint:
    """An expert with its embedding under its head's name too, where it ties it and a base does not.

    Args:
        expert: the model.
        base: the model whose tensors a merge has.
    """
    for head in HEADS:
        if head in base.infos() and head not in expert.infos() and expert.ties_embeddings:
            tables, _ = vocabulary_tables(expert.infos(), expert.config)
            if len(tables) == 1:
                return expert.with_second_name(tables[0], head)
    return expert
