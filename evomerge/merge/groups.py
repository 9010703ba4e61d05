"""Layer groups: sets of tensors that share merge values, named so that a recipe explains itself.

    embeddings                   token and position embeddings
    layers.0-1                   layers 0 to 1, both included; a single layer is `layers.3-3`
    layers.0-1.attention|mlp|other   the same, by module; norms are `other`
    layers.0-1.router            what chooses the experts of a mixture: in no other group
    final_norm                   what normalises the last layer's output
    head                         the output projection, where the checkpoint has one of its own
    other                        whatever is left: vision towers, rotary buffers

The rules read tensor names alone. The layer of a tensor is the first number in its dotted name, so
that no table of architectures is needed; an encoder's and a decoder's layer i share the number i.

A router that no group of a recipe holds is the base's: small changes of a router send tokens to
other experts, and the mean of two routers is a router for neither's experts.
"""

import re
from collections.abc import Iterable, Sequence

from evomerge.errors import UsageError

MODULES = ("attention", "mlp", "other")
ROUTER = "router"

_GROUP = re.compile(r"layers\.(\d+)-(\d+)(?:\.(attention|mlp|other|router))?")
_ENDS = ("embeddings", "final_norm", "head", "other")
_OTHER_MODALITY = re.compile(r"vision|visual|audio|image")
_HEAD = re.compile(r"lm_head|embed_out|output|score")
_NOT_EMBEDDING = re.compile(r"rotary")
_EMBEDDING = re.compile(r"emb|wte|wpe|shared")
_NORM = re.compile(r"norm|^ln_|^ln$")
_ROUTER = re.compile(r"(?:^|\.)(?:router|(?:mlp|moe|block_sparse_moe|ffn|feed_forward)\.gate)\.")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_MLP = re.compile(r"mlp|ffn|feed_?forward|moe|experts|dense|^fc\d", re.IGNORECASE)


def layer_groups(
    names: Iterable[str], *, granularity: int, split_modules: bool, routers: bool = False
) -> tuple[str, ...]:
    """The layer groups of a checkpoint in depth order, each holding at least one tensor.

    Args:
        names: the checkpoint's tensor names, in any order.
        granularity: how many consecutive layers share a group, at least 1; a last group may hold
            fewer.
        split_modules: whether attention, MLP and the rest of the layers are groups of their own.
        routers: whether routers are merged, in groups of their own, rather than the base's.

    Raises:
        UsageError: the granularity is not positive.
    """
    if granularity < 1:
        raise UsageError(
            f"granularity is {granularity}, expected at least 1: the number of layers that share "
            "a group; use 1 for a group a layer"
        )
    places = {place(name) for name in names}
    n_layers = 1 + max((layer for layer in map(_layer, places) if layer is not None), default=-1)
    groups = ["embeddings"]
    for first in range(0, n_layers, granularity):
        block = f"layers.{first}-{min(first + granularity, n_layers) - 1}"
        groups += [f"{block}.{module}" for module in MODULES] if split_modules else [block]
        groups += [f"{block}.{ROUTER}"] if routers else []
    groups += ["final_norm", "head", "other"]
    return tuple(group for group in groups if any(holds(group, place) for place in places))


def assign(names: Iterable[str], group_names: Sequence[str]) -> dict[str, str]:
    """Which group each tensor belongs to, from the names of tensors and groups alone.

    Returns:
        tensor name → group name, in the order of `names`. A router that no group holds is the
        base's, and named as the group that would.

    Raises:
        UsageError: a group's name has no meaning or holds no tensor, or a tensor that is no router
            belongs to no group, or one to several.
    """
    for group in group_names:
        if group not in _ENDS and not _GROUP.fullmatch(group):
            raise UsageError(
                f"layer group '{group}' is not known; expected {', '.join(_ENDS)}, "
                "layers.FIRST-LAST or layers.FIRST-LAST.attention, .mlp, .other or .router"
            )
    owners = {name: _owner(name, group_names) for name in names}
    idle = [group for group in group_names if group not in set(owners.values())]
    if idle:
        raise UsageError(
            f"layer groups {', '.join(idle)} of the recipe hold no tensor of the base; was the "
            "recipe made for a model with another number of layers?"
        )
    return owners


def place(name: str) -> str:
    """The finest group of a tensor: `layers.3-3.mlp`, or one of the ends of the model."""
    parts = name.split(".")
    if any(_OTHER_MODALITY.search(part) for part in parts):
        return "other"
    for position, part in enumerate(parts):
        if part.isdigit():
            return f"layers.{int(part)}-{int(part)}.{_module(parts[position + 1 :])}"
    if any(_HEAD.fullmatch(part) for part in parts):
        return "head"
    if any(_EMBEDDING.search(part) and not _NOT_EMBEDDING.search(part) for part in parts):
        return "embeddings"
    return "final_norm" if any(_NORM.search(part) for part in parts) else "other"


def depths(names: Iterable[str]) -> dict[str, float]:
    """How deep in the model each tensor's layer lies: 0 for the first, 1 for the last.

    Also 0 for what is outside the layers, and for the only layer of a model.
    """
    layers = {name: _layer(place(name)) or 0 for name in names}
    last = max(layers.values(), default=0)
    return {name: layer / last if last else 0.0 for name, layer in layers.items()}


def is_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is a linear map of a layer, or a stack of such maps, rather than a table.

    Embeddings and heads are tables with a row for each token, and far too large to decompose.
    """
    return len(shape) in (2, 3) and min(shape[-2:]) > 1 and _layer(place(name)) is not None


def holds(group: str, place: str) -> bool:
    """Whether a group contains a place, which is the finest group of some tensor."""
    outer, inner = _GROUP.fullmatch(group), _GROUP.fullmatch(place)
    if outer is None or inner is None:
        return group == place
    modules = (inner[3],) if inner[3] == ROUTER else (None, inner[3])
    return int(outer[1]) <= int(inner[1]) <= int(outer[2]) and outer[3] in modules


def _owner(name: str, group_names: Sequence[str]) -> str:
    its_place = place(name)
    owners = [group for group in group_names if holds(group, its_place)]
    if len(owners) == 1:
        return owners[0]
    if not owners and its_place.endswith(f".{ROUTER}"):
        return its_place
    found = (
        f"belongs to several groups of the recipe ({', '.join(owners)})"
        if owners
        else ("belongs to no group of the recipe")
    )
    raise UsageError(
        f"tensor '{name}' {found}; expected exactly one, such as '{its_place}': add or remove a "
        "group, or derive the groups from this base with layer_groups"
    )


def _layer(place: str) -> int | None:
    match = _GROUP.fullmatch(place)
    return int(match[1]) if match else None


def _module(parts: Sequence[str]) -> str:
    if _ROUTER.search(".".join(parts)):
        return ROUTER
    # T5 nests once more: block.0.layer.1.DenseReluDense
    inner = next((part for part in parts if part != "layer" and not part.isdigit()), "")
    if _NORM.search(inner):
        return "other"
    if _ATTENTION.search(inner):
        return "attention"
    return "mlp" if _MLP.search(inner) else "other"
