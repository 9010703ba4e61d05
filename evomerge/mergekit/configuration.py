"""A configuration of mergekit as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evomerge.mergekit.report import KeyPath
from evomerge.mergekit.settings import Setting

Settings = Mapping[str, Setting]


@dataclass(frozen=True, order=True)
class ModelReference:
    """A model: the path of its folder, and of an adapter on top of it, as the file has them."""

    path: str
    adapter: str | None = None

    def __str__(self) -> str:
        return self.path if self.adapter is None else f"{self.path}+{self.adapter}"


@dataclass(frozen=True)
class Source:
    """One model's part in a slice.

    Args:
        model: which.
        settings: its own parameters.
        place: where it stands in the file.
        layers: its first layer, and one past its last; None for all.
    """

    model: ModelReference
    settings: Settings
    place: KeyPath
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Slice:
    """Consecutive layers of the merged model, merged from as many layers of each source.

    Args:
        sources: the models, the base among them where the method needs one.
        settings: parameters of this slice.
        base: the slice's base, where the method has one.
        place: where it stands in the file.
    """

    sources: tuple[Source, ...]
    settings: Settings
    base: ModelReference | None
    place: KeyPath


@dataclass(frozen=True)
class Tokenizer:
    """What tokenizer the merged model has.

    Args:
        source: `base`, `union`, or the path of a model.
        place: where it stands in the file.
        pad_to_multiple_of: what the number of rows of its tables is a multiple of.
    """

    source: str
    place: KeyPath
    pad_to_multiple_of: int = 1


@dataclass(frozen=True)
class Configuration:
    """A merge in mergekit's words.

    Args:
        method: mergekit's name of the method.
        slices: the layers of the merged model from below.
        base: the base of the whole file, if any.
        settings: parameters of all slices, those further out last.
        dtype: the dtype of the arithmetic in mergekit, and of the result unless `out_dtype` is.
        out_dtype: the dtype of the result.
        tokenizer: what tokenizer it has; None for that of the base, or else of the first model.
        chat_template: `auto`, a template in Jinja, or None for that of the tokenizer.
    """

    method: str
    slices: tuple[Slice, ...]
    base: ModelReference | None
    settings: tuple[Settings, ...] = field(default=())
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None

    @property
    def models(self) -> tuple[ModelReference, ...]:
        """Every model once, the one first whose config and tokenizer the result has."""
        first = () if self.base is None else (self.base,)
        sources = (source.model for part in self.slices for source in part.sources)
        return tuple(dict.fromkeys((*first, *sources)))

    def place_of(self, model: ModelReference) -> KeyPath:
        """Where the file names a model first."""
        for part in self.slices:
            for source in part.sources:
                if source.model == model:
                    is_base = source.place == ("base_model",)
                    return source.place if is_base else (*source.place, "model")
        return ("base_model",)
