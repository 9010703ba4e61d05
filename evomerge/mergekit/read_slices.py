"""Read which models a configuration of mergekit merges, layer by layer, and with which values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evomerge.mergekit.checks import check_slice, check_slices
from evomerge.mergekit.configuration import ModelReference, Settings, Slice, Source
from evomerge.mergekit.methods import MERGEKIT_METHODS, Option
from evomerge.mergekit.report import KeyPath, Report, shown
from evomerge.mergekit.settings import Setting, read_setting

_LAYOUTS = ("models", "slices", "modules")


class SliceReader:
    """Reads the slices of a file whose method is known.

    Args:
        method: mergekit's name of it.
        report: where problems go.
    """

    def __init__(self, method: str, report: Report) -> None:
        self._method_name = method
        self._method = MERGEKIT_METHODS[method]
        self._report = report

    def settings(self, path: KeyPath, node: Any, *, per_model: bool = False) -> Settings:
        """The parameters at `path`: of all options, or of those that each model has."""
        options = [o for o in self._method.options if o.per_model or not per_model]
        data = self._report.mapping(path, node, [option.name for option in options])
        return {
            option.name: self._setting((*path, option.name), data[option.name], option)
            for option in options
            if option.name in data
        }

    def slices(
        self, data: Mapping[str, Any], base: ModelReference | None
    ) -> tuple[list[Slice], list[Settings]]:
        """The slices, in whichever of three ways they are said, and the settings of a module."""
        found = [key for key in _LAYOUTS if key in data]
        if len(found) != 1:
            path = (found[1],) if found else ("models",)
            said = " and ".join(found) or "none of them"
            self._report.add(path, f"found {said}, expected exactly one of {', '.join(_LAYOUTS)}")
            return [], []
        if found[0] == "models":
            return [self._models(data["models"], base)], []
        if found[0] == "slices":
            return self._slices(("slices",), data["slices"], base), []
        return self._module(data["modules"], base)

    def _module(self, node: Any, base: ModelReference | None) -> tuple[list[Slice], list[Settings]]:
        if not isinstance(node, Mapping) or len(node) != 1:
            self._report.add(
                ("modules",),
                f"found {shown(node)}, expected a mapping with one module: models of several "
                "modules are not merged by modules here; use `models`, which merges all of them",
            )
            return [], []
        name, inner = next(iter(node.items()))
        path = ("modules", name)
        module = self._report.mapping(path, inner, ("slices", "parameters"))
        settings = self.settings((*path, "parameters"), module.get("parameters"))
        return self._slices((*path, "slices"), module.get("slices"), base), [settings]

    def _models(self, node: Any, base: ModelReference | None) -> Slice:
        """All layers of all models; the base is one of them, named among them or not."""
        sources = [
            self._source(("models", index), item, ("model", "parameters"))
            for index, item in enumerate(self._report.items(("models",), node, "models"))
        ]
        known = [source for source in sources if source is not None]
        if base is not None and all(source.model != base for source in known):
            known.append(Source(base, {}, ("base_model",)))
        return self._checked(Slice(tuple(known), {}, base, ("models",)))

    def _slices(self, path: KeyPath, node: Any, base: ModelReference | None) -> list[Slice]:
        slices = [
            self._slice((*path, index), item, base)
            for index, item in enumerate(self._report.items(path, node, "slices"))
        ]
        check_slices(slices, path, self._method, self._report)
        return slices

    def _slice(self, path: KeyPath, node: Any, base: ModelReference | None) -> Slice:
        keys = ("sources", "parameters", "base_model")
        data = self._report.mapping(path, node, keys)
        inside = (*path, "sources")
        sources = [
            self._source((*inside, index), item, ("model", "layer_range", "parameters"))
            for index, item in enumerate(self._report.items(inside, data.get("sources"), "sources"))
        ]
        if "base_model" in data:
            base = self.reference((*path, "base_model"), data["base_model"])
        settings = self.settings((*path, "parameters"), data.get("parameters"))
        known = tuple(source for source in sources if source is not None)
        return self._checked(Slice(known, settings, base, path))

    def _source(self, path: KeyPath, node: Any, keys: tuple[str, ...]) -> Source | None:
        data = self._report.mapping(path, node, keys)
        if "model" not in data:
            self._report.add(path, "has no `model`, expected the path of a model folder")
            return None
        model = self.reference((*path, "model"), data["model"])
        settings = self.settings((*path, "parameters"), data.get("parameters"), per_model=True)
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
        check_slice(part, self._method_name, self._report)
        return part

    def _setting(self, path: KeyPath, node: Any, option: Option) -> Setting:
        setting = read_setting(path, node, self._report)
        low, high = option.limits
        for number in setting.numbers:
            if option.is_switch and number not in (0.0, 1.0):
                self._report.add(path, f"found {number:g}, expected true or false")
            elif not low <= number <= high:
                self._report.add(path, _refused(number, option))
        return setting

    def reference(self, path: KeyPath, node: Any) -> ModelReference | None:
        """The model at `path`; None where it is reported to be none."""
        if isinstance(node, str) and node.strip("+ "):
            model, _, adapter = node.partition("+")
            return ModelReference(model, adapter or None)
        self._report.add(
            path, f"found {shown(node)}, expected the path of a model folder, or MODEL+ADAPTER"
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
