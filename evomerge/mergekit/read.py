"""Read a configuration of mergekit from plain data: all problems at once, each with its place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evomerge.errors import Problem
from evomerge.mergekit.configuration import (
    Configuration,
    ModelReference,
    Settings,
    Slice,
    Source,
    Tokenizer,
)
from evomerge.mergekit.methods import MERGEKIT_METHODS, MergekitMethod, Option
from evomerge.mergekit.report import KeyPath, Locate, Report, expected_one_of
from evomerge.mergekit.settings import Setting, read_setting

_KEYS = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
)
_LAYOUTS = ("models", "slices", "modules")
DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Reading:
    """What a file says, as far as it could be understood; None without a known method."""

    configuration: Configuration | None
    problems: tuple[Problem, ...]


def read_configuration(data: Mapping[str, Any], locate: Locate) -> Reading:
    """The configuration that the file's mapping says, and every problem of form.

    Args:
        data: the file as plain data.
        locate: makes a problem of a key and a message.
    """
    report = Report(locate)
    configuration = _Reader(report).read(report.mapping((), data, _KEYS))
    return Reading(configuration, tuple(report.problems))


class _Reader:
    """Reads the parts of one file, once its method is known."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._method_name: str | None = None
        self._base: ModelReference | None = None

    def read(self, data: Mapping[str, Any]) -> Configuration | None:
        self._method_name = self._read_method(data)
        if "base_model" in data:
            self._base = self._reference(("base_model",), data["base_model"])
        settings = [self._settings(("parameters",), data.get("parameters"))]
        slices = self._layout(data, settings)
        dtypes = {key: self._dtype(key, data) for key in ("dtype", "out_dtype")}
        tokenizer = self._tokenizer(data)
        template = self._chat_template(data.get("chat_template"))
        if self._method_name is None:
            return None
        for part in slices:
            self._require_options(part, settings)
        return Configuration(
            method=self._method_name,
            slices=tuple(slices),
            base=self._base,
            settings=tuple(settings),
            dtype=dtypes["dtype"],
            out_dtype=dtypes["out_dtype"],
            tokenizer=tokenizer,
            chat_template=template,
        )

    @property
    def _method(self) -> MergekitMethod | None:
        return MERGEKIT_METHODS[self._method_name] if self._method_name else None

    def _read_method(self, data: Mapping[str, Any]) -> str | None:
        if "merge_method" not in data:
            message = f"is missing, {expected_one_of('', MERGEKIT_METHODS)}"
            self._report.add(("merge_method",), message)
            return None
        return self._report.choice(("merge_method",), data["merge_method"], MERGEKIT_METHODS)

    def _layout(self, data: Mapping[str, Any], settings: list[Settings]) -> list[Slice]:
        """The slices, in whichever of three ways they are said; module settings are added."""
        found = [key for key in _LAYOUTS if key in data]
        if len(found) != 1:
            path = (found[1],) if found else ("models",)
            said = " and ".join(found) or "none of them"
            self._report.add(path, f"found {said}, expected exactly one of {', '.join(_LAYOUTS)}")
            return []
        if found[0] == "models":
            return self._models(data["models"])
        if found[0] == "slices":
            return self._slices(("slices",), data["slices"])
        return self._module(data["modules"], settings)

    def _module(self, node: Any, settings: list[Settings]) -> list[Slice]:
        if not isinstance(node, Mapping) or len(node) != 1:
            self._report.add(
                ("modules",),
                f"found {_shown(node)}, expected a mapping with one module: models of several "
                "modules are not merged by modules here; use `models`, which merges all of them",
            )
            return []
        name, inner = next(iter(node.items()))
        path = ("modules", name)
        module = self._report.mapping(path, inner, ("slices", "parameters"))
        settings.insert(0, self._settings((*path, "parameters"), module.get("parameters")))
        return self._slices((*path, "slices"), module.get("slices"))

    def _models(self, node: Any) -> list[Slice]:
        """All layers of all models; the base is one of them, named among them or not."""
        sources = [
            self._source(("models", index), item, ("model", "parameters"))
            for index, item in enumerate(self._report.items(("models",), node, "models"))
        ]
        known = [source for source in sources if source is not None]
        if self._base is not None and all(source.model != self._base for source in known):
            known.append(Source(self._base, {}, ("base_model",)))
        return [self._checked(Slice(tuple(known), {}, self._base, ("models",)))]

    def _slices(self, path: KeyPath, node: Any) -> list[Slice]:
        slices = [
            self._slice((*path, index), item)
            for index, item in enumerate(self._report.items(path, node, "slices"))
        ]
        if len({len(part.sources) for part in slices}) > 1:
            counts = ", ".join(str(len(part.sources)) for part in slices)
            self._report.add(
                path,
                f"the slices have {counts} sources, expected the same number in each: evomerge "
                "merges as many models in every layer; split the file, or add sources of weight 0",
            )
        return slices

    def _slice(self, path: KeyPath, node: Any) -> Slice:
        keys = ("sources", "parameters", "base_model")
        data = self._report.mapping(path, node, keys)
        inside = (*path, "sources")
        sources = [
            self._source((*inside, index), item, ("model", "layer_range", "parameters"))
            for index, item in enumerate(self._report.items(inside, data.get("sources"), "sources"))
        ]
        base = self._base
        if "base_model" in data:
            base = self._reference((*path, "base_model"), data["base_model"])
        settings = self._settings((*path, "parameters"), data.get("parameters"))
        known = tuple(source for source in sources if source is not None)
        return self._checked(Slice(known, settings, base, path))

    def _source(self, path: KeyPath, node: Any, keys: tuple[str, ...]) -> Source | None:
        data = self._report.mapping(path, node, keys)
        if "model" not in data:
            self._report.add(path, "has no `model`, expected the path of a model folder")
            return None
        model = self._reference((*path, "model"), data["model"])
        settings = self._settings((*path, "parameters"), data.get("parameters"), per_model=True)
        if model is None:
            return None
        source = Source(model, settings, path)
        if "layer_range" not in keys:
            return source
        return replace(source, layers=self._layers((*path, "layer_range"), data.get("layer_range")))

    def _layers(self, path: KeyPath, node: Any) -> tuple[int, int] | None:
        if (
            isinstance(node, list)
            and len(node) == 2
            and all(isinstance(number, int) for number in node)
            and 0 <= node[0] < node[1]
        ):
            return (node[0], node[1])
        self._report.add(
            path, f"found {node!r}, expected [FIRST, STOP]: the first layer and one past the last"
        )
        return None

    def _checked(self, part: Slice) -> Slice:
        """The slice, with what is wrong with its models reported."""
        names = [source.model for source in part.sources]
        for index, source in enumerate(part.sources):
            if source.model in names[:index]:
                self._report.add(
                    source.place,
                    f"'{source.model}' is in this slice already; expected each model once: "
                    "mergekit would take one of the two alone",
                )
        spans = {stop - first for first, stop in (s.layers for s in part.sources if s.layers)}
        if len(spans) > 1:
            found = ", ".join(str(span) for span in sorted(spans))
            self._report.add(
                part.place, f"its sources have {found} layers, expected the same number of each"
            )
        if self._method is not None and names:
            self._check_models(part, self._method)
        return part

    def _check_models(self, part: Slice, method: MergekitMethod) -> None:
        name = self._method_name
        has_base = any(source.model == part.base for source in part.sources)
        if method.base in ("needed", "blended") and not has_base:
            found = f"'{part.base}' is not among its models" if part.base else "there is no base"
            self._report.add(
                part.place,
                f"{name} needs a base, and {found}; expected `base_model` as one of them",
            )
        elif part.base and method.base == "optional" and not has_base:
            self._report.add(
                part.place, f"its base '{part.base}' is not among its models; add it to them"
            )
        n_models = len(part.sources) - (has_base and method.base != "ignored")
        least, most = method.n_models
        if not least <= n_models <= most:
            wanted = f"{least}" if least == most else f"{least} or more"
            beside = " beside the base" if method.base != "ignored" else ""
            self._report.add(
                part.place, f"{name} was given {n_models} models, expected {wanted}{beside}"
            )

    def _require_options(self, part: Slice, outer: list[Settings]) -> None:
        """Report the parameters without a default that no level of the file sets."""
        options = self._method.options if self._method else ()
        for option in (option for option in options if option.default is None):
            holders = part.sources if option.per_model else (part,)
            for holder in holders:
                is_base = holder is not part and self._has_no_options(holder, part)
                levels = (holder.settings, part.settings, *outer)
                if not is_base and all(option.name not in level for level in levels):
                    self._report.add(
                        holder.place,
                        f"{self._method_name} needs `{option.name}`, which is not set here nor "
                        "further out; add it below `parameters`",
                    )

    def _has_no_options(self, source: Slice | Source, part: Slice) -> bool:
        """Whether a source is the base of a method that moves away from it."""
        is_base = isinstance(source, Source) and source.model == part.base
        return is_base and self._method is not None and self._method.base != "ignored"

    def _settings(self, path: KeyPath, node: Any, *, per_model: bool = False) -> Settings:
        if self._method is None:
            return {}
        options = [o for o in self._method.options if o.per_model or not per_model]
        data = self._report.mapping(path, node, [option.name for option in options])
        return {
            option.name: self._setting((*path, option.name), data[option.name], option)
            for option in options
            if option.name in data
        }

    def _setting(self, path: KeyPath, node: Any, option: Option) -> Setting:
        setting = read_setting(path, node, self._report)
        low, high = option.limits
        for number in setting.numbers:
            if option.is_switch and number not in (0.0, 1.0):
                self._report.add(path, f"found {number:g}, expected true or false")
            elif not low <= number <= high:
                self._report.add(path, _refused(number, option))
        return setting

    def _reference(self, path: KeyPath, node: Any) -> ModelReference | None:
        if isinstance(node, str) and node.strip("+ "):
            model, _, adapter = node.partition("+")
            return ModelReference(model, adapter or None)
        self._report.add(
            path, f"found {_shown(node)}, expected the path of a model folder, or MODEL+ADAPTER"
        )
        return None

    def _dtype(self, key: str, data: Mapping[str, Any]) -> str | None:
        return self._report.choice((key,), data[key], DTYPES) if data.get(key) else None

    def _tokenizer(self, data: Mapping[str, Any]) -> Tokenizer | None:
        if "tokenizer" in data:
            node = self._report.mapping(
                ("tokenizer",), data["tokenizer"], ("source", "pad_to_multiple_of")
            )
            path: KeyPath = ("tokenizer", "source")
            return self._tokenizer_of(path, node.get("source"), node.get("pad_to_multiple_of"))
        if "tokenizer_source" in data:
            return self._tokenizer_of(("tokenizer_source",), data["tokenizer_source"], None)
        return None

    def _tokenizer_of(self, path: KeyPath, source: Any, multiple: Any) -> Tokenizer | None:
        if not isinstance(source, str):
            self._report.add(
                path, f"found {_shown(source)}, expected base, union or a model's path"
            )
            return None
        if multiple is None:
            return Tokenizer(source, path)
        if not isinstance(multiple, int) or multiple < 1:
            self._report.add(
                (*path[:-1], "pad_to_multiple_of"),
                f"found {_shown(multiple)}, expected a whole number from 1",
            )
            return None
        return Tokenizer(source, path, multiple)

    def _chat_template(self, node: Any) -> str | None:
        if node is None:
            return None
        if isinstance(node, str) and (node == "auto" or "{" in node):
            return node
        self._report.add(
            ("chat_template",),
            f"found {_shown(node)}, expected `auto` or a template in Jinja: mergekit's own named "
            "templates are not part of evomerge; write the template itself",
        )
        return None


def _refused(number: float, option: Option) -> str:
    low, high = option.limits
    if low == high:
        wanted = str(bool(low)).lower() if option.is_switch else f"{low:g}"
    else:
        wanted = f"a number from {low:g} to {high:g}"
    found = str(bool(number)).lower() if option.is_switch else f"{number:g}"
    return f"found {found}, expected {wanted}{f': {option.note}' if option.note else ''}"


def _shown(node: Any) -> str:
    return repr(node) if len(repr(node)) <= 60 else f"a {type(node).__name__}"
