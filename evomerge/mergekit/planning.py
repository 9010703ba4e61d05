"""How each tensor of the merged model is merged, with mergekit's rules for values.

- A gradient runs over the layers of a slice; a slice of one layer is at its end.
- Tensors before the layers (embeddings) are planned with the first slice and those after them
  (final norm, head) with the last one, both at the gradient's start.
- A filter is a substring of the tensor's name: for a model's own parameters the name that it has
  in that model, for others its name in the merged model.
- The first of these levels with a value decides: source, slice, module, whole file, default.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.checkpoint.layer_names import comes_after, layer_of
from evomerge.errors import UsageError
from evomerge.mergekit.configuration import Configuration, Settings, Slice, Source
from evomerge.mergekit.methods import MERGEKIT_METHODS, Option, Values
from evomerge.records import GroupRecipe


@dataclass(frozen=True)
class _Place:
    """Where a tensor is planned: the slice, and how far along its gradients."""

    slice: int
    t: float


class Planner:
    """Plans the tensors of the model that a configuration makes.

    Args:
        configuration: what to merge.
        n_layers: how many layers each of its slices has.
    """

    def __init__(self, configuration: Configuration, n_layers: Sequence[int]) -> None:
        self._configuration = configuration
        self._method = MERGEKIT_METHODS[configuration.method]
        self._places = [
            _Place(index, layer / (n - 1) if n > 1 else 1.0)
            for index, n in enumerate(n_layers)
            for layer in range(n)
        ]

    def recipe(self, name: str, own_names: Sequence[str]) -> GroupRecipe:
        """The row of our table, with its values, that merges a tensor.

        Args:
            name: its name in the merged model.
            own_names: its name in each of the `columns`.

        Raises:
            UsageError: a parameter has no value for it, or values without meaning.
        """
        try:
            return self._method.row(self.values(name, own_names))
        except UsageError as error:
            raise UsageError(f"tensor '{name}': {error}") from error

    def values(self, name: str, own_names: Sequence[str]) -> Values:
        """The values of the method's options for a tensor."""
        place = self._place(name)
        part = self._configuration.slices[place.slice]
        outer = (part.settings, *self._configuration.settings)
        has_base = has_own_base(self._configuration, part)
        named = list(zip(sources_in_order(self._configuration, part), own_names, strict=True))
        if self._method.base in ("needed", "optional") and has_base:
            named = named[1:]
        shared = {
            option.name: _value(option, outer, name, place.t)
            for option in self._method.options
            if not option.per_model
        }
        by_model = {
            option.name: tuple(
                _value(option, (source.settings, *outer), own, place.t) for source, own in named
            )
            for option in self._method.options
            if option.per_model
        }
        return Values(shared, by_model, has_base)

    def _place(self, name: str) -> _Place:
        layer = layer_of(name)
        if layer is not None and layer < len(self._places):
            return self._places[layer]
        last = len(self._configuration.slices) - 1
        return _Place(last if comes_after(name) else 0, 0.0)


def sources_in_order(configuration: Configuration, part: Slice) -> tuple[Source, ...]:
    """The sources of a slice, the base first where it plays a part of its own."""
    if MERGEKIT_METHODS[configuration.method].base == "ignored":
        return part.sources
    return tuple(sorted(part.sources, key=lambda source: source.model != part.base))


def has_own_base(configuration: Configuration, part: Slice) -> bool:
    """Whether the first of the sources in order is the base."""
    if MERGEKIT_METHODS[configuration.method].base == "ignored":
        return False
    return any(source.model == part.base for source in part.sources)


def _value(option: Option, levels: Sequence[Settings], name: str, t: float) -> float:
    for level in levels:
        value = level[option.name].at(name, t) if option.name in level else None
        if value is not None:
            return value
    if option.default is None:
        raise UsageError(
            f"no filter of `{option.name}` fits '{name}' and it has no default; add `- value: "
            "NUMBER` without a filter at the end"
        )
    return option.default
