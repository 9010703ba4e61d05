"""The models of a mergekit configuration, laid out so that the merge engine can merge them."""

from collections.abc import Mapping, Sequence

import torch

from evomerge.checkpoint.layer_names import count_layers, layer_of
from evomerge.checkpoint.layer_stack import Hop, LayerPath, LayerStack, ScaledTensors
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.errors import ConfigError
from evomerge.merge.prepared import PreparedMerge
from evomerge.mergekit.configuration import Configuration, ModelReference, Source
from evomerge.mergekit.planning import Planner, has_own_base, sources_in_order
from evomerge.records import GroupRecipe, TensorSource

Column = Model | LayerStack


class Assembly:
    """What a configuration merges, as columns.

    A column has one source of each slice, and is a whole model: where there are several slices, the
    stack of the layers that they take. The base is a column like the others.

    Args:
        configuration: what to merge; sound.
        models: its models, open.

    Raises:
        ConfigError: whole models do not fit each other; every problem.
        ModelError: stacks of layers do not fit each other.
    """

    def __init__(
        self, configuration: Configuration, models: Mapping[ModelReference, Model]
    ) -> None:
        self._configuration = configuration
        ordered = [sources_in_order(configuration, part) for part in configuration.slices]
        self._planner = Planner(configuration, [_n_layers(sources, models) for sources in ordered])
        self._columns = [_column(sources, models) for sources in zip(*ordered, strict=True)]
        _check_whole_models(self._columns)
        has_base = has_own_base(configuration, configuration.slices[0])
        first = int(has_base and configuration.method != "slerp")
        names = [f"{n}: {source.model}" for n, source in enumerate(ordered[0], start=1)]
        sources = self._sources()
        self.experts = tuple(names[first:])
        self.prepared = PreparedMerge(
            sources[0], dict(zip(self.experts, sources[first:], strict=True)), dtype=self._dtype()
        )

    def recipes(self) -> dict[str, GroupRecipe]:
        """How each tensor is merged.

        Raises:
            UsageError: a parameter has no value for a tensor, or values without meaning.
        """
        return {
            name: self._planner.recipe(name, self._own_names(name))
            for name in self.prepared.infos()
        }

    def config_changes(self) -> dict[str, object]:
        """What of config.json differs from that of the configuration's first model."""
        first = self._columns[0]
        changes = dict(first.config_changes) if isinstance(first, LayerStack) else {}
        if (dtype := self._dtype()) is not None:
            key = "torch_dtype" if "torch_dtype" in first.config else "dtype"
            changes[key] = str(dtype).removeprefix("torch.")
        return changes

    def _dtype(self) -> torch.dtype | None:
        name = self._configuration.out_dtype or self._configuration.dtype
        return getattr(torch, name) if name else None

    def _own_names(self, name: str) -> list[str]:
        """The name of a merged tensor in the source of each column."""
        return [
            column.own_name(name) if isinstance(column, LayerStack) else name
            for column in self._columns
        ]

    def _sources(self) -> Sequence[TensorSource]:
        if self._configuration.method != "passthrough":
            return self._columns
        (column,) = self._columns
        scales = {
            name: self._planner.values(name, self._own_names(name)).by_model["scale"][0]
            for name in column.infos()
        }
        return [ScaledTensors(column, scales)]


def _n_layers(sources: Sequence[Source], models: Mapping[ModelReference, Model]) -> int:
    first = sources[0]
    if first.layers is not None:
        return first.layers[1] - first.layers[0]
    layers = map(layer_of, models[first.model].infos())
    return 1 + max((layer for layer in layers if layer is not None), default=-1)


def _column(sources: Sequence[Source], models: Mapping[ModelReference, Model]) -> Column:
    """The model that the sources of one column make, from the first slice to the last."""
    hops = [
        Hop(str(source.model), layer)
        for source in sources
        if source.layers is not None
        for layer in range(*source.layers)
    ]
    whole = models[sources[0].model]
    if not hops or _is_whole(hops, whole):
        return whole
    return LayerStack(
        {str(source.model): models[source.model] for source in sources}, LayerPath(tuple(hops))
    )


def _is_whole(hops: Sequence[Hop], model: Model) -> bool:
    layers = list(range(count_layers(model.infos())))
    return len({hop.model for hop in hops}) == 1 and [hop.layer for hop in hops] == layers


def _check_whole_models(columns: Sequence[Column]) -> None:
    first, *others = columns
    if not isinstance(first, LayerStack):
        named = {str(other.path): other for other in others if not isinstance(other, LayerStack)}
        if problems := compare(first, named):
            raise ConfigError(problems)
