"""Which layer of a model a tensor belongs to, from its name alone."""

import re
from collections.abc import Iterable

from evomerge.errors import ModelError

_OTHER_MODALITY = re.compile(r"vision|visual|audio|image")
_EMBEDDING = re.compile(r"emb|wte|wpe|shared")
_AFTER = re.compile(r"lm_head|embed_out|output|score|norm|^ln_|^ln$")
_NOT_AFTER = re.compile(r"^embed_out$")
_WRITES_TO_RESIDUAL = re.compile(
    r"\.(?:o_proj|down_proj|c_proj|out_proj|out_lin|dense|dense_4h_to_h|wo|w2|fc2|fc_out)(?:\.|$)"
)


def layer_of(name: str) -> int | None:
    """The layer that a tensor is in: the first number in its dotted name.

    None outside the layers, and in the tower of another modality.
    """
    position = _position(name.split("."))
    return None if position is None else int(name.split(".")[position])


def with_layer(name: str, layer: int) -> str:
    """The name that a tensor of a layer has in another layer."""
    parts = name.split(".")
    position = _position(parts)
    if position is None:
        return name
    return ".".join((*parts[:position], str(layer), *parts[position + 1 :]))


def comes_after(name: str) -> bool:
    """Whether a tensor outside the layers works on their output: the final norm and the head."""
    parts = name.split(".")
    if any(_EMBEDDING.search(part) and not _NOT_AFTER.search(part) for part in parts):
        return False
    return any(_AFTER.search(part) for part in parts)


def writes_to_residual(name: str) -> bool:
    """Whether a tensor of a layer is the last map before what the layer adds to its input."""
    return bool(_WRITES_TO_RESIDUAL.search(name))


def count_layers(names: Iterable[str]) -> int:
    """The number of layers of a model whose layers are one stack.

    Raises:
        ModelError: there are none, or several stacks of them, as in an encoder with a decoder.
    """
    layers: dict[str, set[int]] = {}
    for name in names:
        parts = name.split(".")
        position = _position(parts)
        if position is not None:
            layers.setdefault(".".join(parts[:position]), set()).add(int(parts[position]))
    if len(layers) != 1:
        found = " and ".join(layers) or "no layers"
        raise ModelError(
            f"the model has {found}, expected one stack of numbered layers; layers can be chosen "
            "in decoder-only models alone: merge whole models"
        )
    (numbers,) = layers.values()
    return max(numbers) + 1


def _position(parts: list[str]) -> int | None:
    """Where in a dotted name the number of the layer stands."""
    if any(_OTHER_MODALITY.search(part) for part in parts):
        return None
    return next((index for index, part in enumerate(parts) if part.isdigit()), None)
