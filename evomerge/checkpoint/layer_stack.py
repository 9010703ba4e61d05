"""A model whose layers are a path through the layers of others.

Frankenmerges, depth up-scaling and data-flow paths are such models; nothing is copied before a
tensor is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from evomerge.checkpoint.layer_names import (
    comes_after,
    count_layers,
    layer_of,
    with_layer,
    writes_to_residual,
)
from evomerge.errors import ModelError, UsageError
from evomerge.records import TensorInfo, TensorSource

_N_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_BY_LAYER = (
    "layer_types",
    "layers_block_type",
    "mlp_layer_types",
    "no_rope_layers",
)
"""Keys of config.json that have an entry for each layer."""
_MUST_AGREE = (
    "model_type",
    "hidden_size",
    "n_embd",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
)


class Model(TensorSource, Protocol):
    """A model with its config."""

    @property
    def config(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Hop:
    """A layer on the path.

    Args:
        model: the model it is taken from.
        layer: its number there.
        scale: factor of what the layer's attention and MLP add to the hidden state; 0 lets the
            state pass unchanged.
    """

    model: str
    layer: int
    scale: float = 1.0


@dataclass(frozen=True)
class LayerPath:
    """The layers of a new model from below.

    Args:
        hops: one a layer, at least one.
        first: the model of what comes before the layers; None for that of the first hop.
        last: the model of what comes after them; None for that of the last hop.
    """

    hops: tuple[Hop, ...]
    first: str | None = None
    last: str | None = None

    @classmethod
    def of(cls, hops: Sequence[tuple[str, int, float]]) -> "LayerPath":
        """The path through `(model, layer, scale)`."""
        return cls(tuple(Hop(*hop) for hop in hops))

    @property
    def before(self) -> str:
        """The model of the embeddings."""
        return self.first or self.hops[0].model

    @property
    def after(self) -> str:
        """The model of the final norm and the head."""
        return self.last or self.hops[-1].model


class LayerStack:
    """The model along a path: its tensors are those of others under other names.

    Args:
        models: by name; each layer of the path must be there.
        path: the layers.

    Raises:
        UsageError: the path is empty, or names a model or a layer that is not there.
        ModelError: a model has no single stack of layers, or the models do not fit each other.
    """

    def __init__(self, models: Mapping[str, Model], path: LayerPath) -> None:
        _check(models, path)
        self._models = models
        self._path = path
        self._origins: dict[str, tuple[str, str, float]] = {}
        self._add_outside(path.before, after=False)
        for layer, hop in enumerate(path.hops):
            self._add_layer(layer, hop)
        self._add_outside(path.after, after=True)
        self._infos = {
            name: replace(models[model].infos()[own], name=name)
            for name, (model, own, _) in self._origins.items()
        }

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the first model with the path's number of layers and lists by layer."""
        return {**self._models[self._path.before].config, **self.config_changes}

    @property
    def config_changes(self) -> dict[str, Any]:
        """What differs in config.json from that of the model of the embeddings."""
        config = self._models[self._path.before].config
        inner = config.get("text_config")
        if isinstance(inner, dict) and not any(key in config for key in _N_LAYERS):
            return {"text_config": {**inner, **self._changes(inner, ("text_config",))}}
        return self._changes(config, ())

    def infos(self) -> Mapping[str, TensorInfo]:
        """Every tensor's name, shape and dtype, from the embeddings to the head."""
        return self._infos

    def read(self, name: str) -> Tensor:
        """The tensor; a view of a mapped file unless it is scaled."""
        model, own, scale = self._origins[name]
        tensor = self._models[model].read(own)
        return tensor if scale == 1.0 else scaled(tensor, scale)

    def own_name(self, name: str) -> str:
        """The name that a tensor has in the model that it comes from."""
        return self._origins[name][1]

    def _add_outside(self, model: str, *, after: bool) -> None:
        for name in self._models[model].infos():
            if layer_of(name) is None and comes_after(name) == after:
                self._origins[name] = (model, name, 1.0)

    def _add_layer(self, layer: int, hop: Hop) -> None:
        for name in self._models[hop.model].infos():
            if layer_of(name) == hop.layer:
                scale = hop.scale if writes_to_residual(name) else 1.0
                self._origins[with_layer(name, layer)] = (hop.model, name, scale)

    def _changes(self, config: Mapping[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
        changes: dict[str, Any] = {
            key: len(self._path.hops) for key in _N_LAYERS if isinstance(config.get(key), int)
        }
        for key in _BY_LAYER:
            if isinstance(config.get(key), list):
                changes[key] = [self._entry(hop, (*inside, key)) for hop in self._path.hops]
        return changes

    def _entry(self, hop: Hop, path: tuple[str, ...]) -> Any:
        """The entry of a hop's layer in a list of its model's config."""
        node: Any = self._models[hop.model].config
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, list) and hop.layer < len(node):
            return node[hop.layer]
        raise ModelError(
            f"model '{hop.model}' has no entry for layer {hop.layer} in `{'.'.join(path)}` of its "
            "config.json, expected one as in the first model; save it again with the same "
            "version of transformers"
        )


@dataclass(frozen=True)
class ScaledTensors:
    """A model with some of its tensors multiplied by numbers.

    Args:
        source: the model.
        scales: factor by tensor name; others stay as they are.
    """

    source: TensorSource
    scales: Mapping[str, float]

    def infos(self) -> Mapping[str, TensorInfo]:
        """The tensors of the model."""
        return self.source.infos()

    def read(self, name: str) -> Tensor:
        """The tensor, multiplied."""
        scale = self.scales.get(name, 1.0)
        return self.source.read(name) if scale == 1.0 else scaled(self.source.read(name), scale)


def scaled(tensor: Tensor, scale: float) -> Tensor:
    """scale · tensor, rounded once to its dtype; tensors of integers stay as they are."""
    if not tensor.is_floating_point():
        return tensor
    return (tensor.float() * scale).to(tensor.dtype)


def _check(models: Mapping[str, Model], path: LayerPath) -> None:
    if not path.hops:
        raise UsageError("the path has no layers, expected at least one; add a hop")
    names = dict.fromkeys((path.before, *(hop.model for hop in path.hops), path.after))
    for name in names:
        if name not in models:
            raise UsageError(
                f"the path leads through model '{name}', but only {', '.join(models)} are open; "
                "open it, or change the path"
            )
    depths = {name: count_layers(models[name].infos()) for name in names}
    for hop in path.hops:
        if not 0 <= hop.layer < depths[hop.model]:
            raise UsageError(
                f"the path takes layer {hop.layer} of '{hop.model}', which has layers 0 to "
                f"{depths[hop.model] - 1}; expected one of these"
            )
    first = models[path.before].config
    for name in names:
        for key in _MUST_AGREE:
            found, expected = models[name].config.get(key), first.get(key)
            if found != expected and None not in (found, expected):
                raise ModelError(
                    f"model '{name}' has {key} {found}, expected {expected} as in "
                    f"'{path.before}'; layers can be stacked of models of one shape alone"
                )
