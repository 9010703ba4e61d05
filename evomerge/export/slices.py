"""Where mergekit's slices begin and end, and which filters tell the layer groups inside apart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from evomerge.merge.groups import place


@dataclass(frozen=True)
class Slice:
    """Consecutive layers that are merged alike.

    Args:
        first: the first layer.
        stop: one past the last layer.
        filters: substring of tensor names → layer group, in the order in which they are tried.
        default: the layer group of all other tensors.
    """

    first: int
    stop: int
    filters: Mapping[str, str]
    default: str

    def group_of(self, name: str) -> str:
        """The group that mergekit's rule gives a tensor: that of the first filter inside it."""
        return next((self.filters[text] for text in self.filters if text in name), self.default)


def slices(owners: Mapping[str, str]) -> list[Slice]:
    """The slices of a model, from the layer group of each of its tensors.

    Tensors outside the layers are planned by mergekit with the first slice (embeddings) or the last
    one (final norm, head), so that both name them.
    """
    layers: dict[int, dict[str, str]] = {}
    ends: dict[str, str] = {}
    for name, group in owners.items():
        layer = layer_of(name)
        if layer is None:
            ends[name] = group
        else:
            layers.setdefault(layer, {})[_within(name)] = group
    runs = [
        [layer for layer, _ in run]
        for _, run in groupby(sorted(layers.items()), key=lambda item: sorted(item[1].items()))
    ]
    return [_slice(run, layers[run[0]], ends if run in (runs[0], runs[-1]) else {}) for run in runs]


def misread(parts: list[Slice], owners: Mapping[str, str]) -> Iterator[str]:
    """The tensors whose group the filters miss."""
    for name, group in owners.items():
        layer = layer_of(name)
        for part in parts:
            is_end = layer is None and part in (parts[0], parts[-1])
            is_inside = layer is not None and part.first <= layer < part.stop
            if (is_end or is_inside) and part.group_of(name) != group:
                yield name
                break


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor is in, or None at the ends of the model."""
    kind, _, layer = place(name).partition(".")
    return int(layer.partition("-")[0]) if kind == "layers" else None


def _within(name: str) -> str:
    """What follows the number of the layer in a tensor's name."""
    parts = name.split(".")
    position = next(index for index, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[position + 1 :])


def _slice(run: list[int], inside: Mapping[str, str], ends: Mapping[str, str]) -> Slice:
    groups = list(inside.values())
    default = max(dict.fromkeys(groups), key=groups.count)
    texts = {
        _shortest_filter(name, inside): group for name, group in inside.items() if group != default
    }
    return Slice(run[0], run[-1] + 1, {**texts, **ends}, default)


def _shortest_filter(name: str, inside: Mapping[str, str]) -> str:
    """The shortest beginning of a name, dots around it, that no other group's name contains."""
    others = [f".{other}" for other, group in inside.items() if group != inside[name]]
    parts = name.split(".")
    beginnings = (f".{'.'.join(parts[:n])}." for n in range(1, len(parts)))
    return next(
        (text for text in beginnings if not any(text in other for other in others)), f".{name}"
    )
