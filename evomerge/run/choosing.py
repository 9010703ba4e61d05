"""Which merge methods each layer group has to choose from, by `merge.method` of the experiment."""

from collections.abc import Iterator, Mapping, Sequence

from evomerge.config.experiment import Methods
from evomerge.errors import UsageError
from evomerge.merge.methods import MergeMethod, find_method

DEFAULT = "default"
"""The key for every layer group that no other key names."""

KINDS = ("embeddings", "layers", "attention", "mlp", "router", "other", "final_norm", "head")
"""Keys that name several layer groups: `layers` all of them, `mlp` those of every layer."""


def methods_of(found: Methods, groups: Sequence[str]) -> dict[str, tuple[MergeMethod, ...]]:
    """The methods of each layer group.

    Raises:
        UsageError: a method is not known, or a layer group has none.
    """
    return {
        group: tuple(find_method(name) for name in as_names(_choice(found, group)))
        for group in groups
    }


def as_names(choice: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (choice,) if isinstance(choice, str) else choice


def named_methods(found: Methods) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every method that is named, with its place below `merge.method`."""
    if isinstance(found, Mapping):
        for key, choice in found.items():
            yield from (((key, *place), name) for place, name in named_methods(choice))
    elif isinstance(found, str):
        yield (), found
    else:
        yield from (((index,), name) for index, name in enumerate(found))


def idle_keys(found: Methods, groups: Sequence[str]) -> list[str]:
    """The keys that name no layer group of the model."""
    if not isinstance(found, Mapping):
        return []
    known = {DEFAULT, *(key for group in groups for key in _keys(group))}
    return [key for key in found if key not in known]


def homeless_groups(found: Methods, groups: Sequence[str]) -> list[str]:
    """The layer groups that no key names."""
    if not isinstance(found, Mapping) or DEFAULT in found:
        return []
    return [group for group in groups if not set(_keys(group)) & found.keys()]


def _choice(found: Methods, group: str) -> str | tuple[str, ...]:
    if not isinstance(found, Mapping):
        return found
    for key in (*_keys(group), DEFAULT):
        if key in found:
            return found[key]
    raise UsageError(
        f"layer group {group} has no merge method, the keys are {', '.join(found)}; "
        f"name the group, or add `{DEFAULT}` for all that is left"
    )


def _keys(group: str) -> tuple[str, ...]:
    """The keys that name a layer group, the closest first: itself, its module, its kind."""
    if not group.startswith("layers."):
        return (group,)
    module = group.rpartition(".")[2]
    return (group, module, "layers") if module in KINDS else (group, "layers")
