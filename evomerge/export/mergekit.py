"""A recipe as a configuration of mergekit, for people who merge with it.

Only the format is mergekit's (https://github.com/arcee-ai/mergekit). One file holds one method, and
a filter is a substring of tensor names of which the first that fits decides.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from ruamel.yaml import YAML

from evomerge.export.dialect import Dialect, common_method
from evomerge.export.phrases import PHRASES, Entry
from evomerge.export.slices import Slice, misread, slices
from evomerge.merge.groups import assign
from evomerge.records import GroupRecipe, Recipe

Conditional = list[dict[str, str | float]]
_KEPT = "the base's"
"""What stands for the group of tensors that no group of the recipe holds."""

_SHOWN = 5
_UNTRANSLATED = """\
# Merged by {method}, which mergekit does not have as evomerge defines it.
# The recipe is in evomerge.json and in README.md.
"""


@dataclass(frozen=True)
class ModelPaths:
    """Where the models of a merge are: folders, or names on a hub."""

    base: str
    experts: Mapping[str, str]


def mergekit_config(
    recipe: Recipe, models: ModelPaths, tensors: Iterable[str], *, dtype: str
) -> str:
    """YAML for `mergekit-yaml` that merges to the recipe's weights, as far as mergekit can.

    Where it cannot, comments at the top say which layer groups differ, and why; of a method that
    mergekit does not have there are comments alone. Sums are taken in float32, as here: mergekit's
    own default is the dtype of the tensors.

    Args:
        recipe: the merge.
        models: the base and each of the recipe's experts.
        tensors: the names of the base's tensors.
        dtype: the dtype of the written weights, such as `bfloat16`.

    Raises:
        UsageError: the recipe's layer groups do not fit the tensors.
    """
    method = common_method(recipe)
    if method not in PHRASES:
        return _UNTRANSLATED.format(method=method)
    owners = {
        name: group if group in recipe.groups else _KEPT
        for name, group in assign(tensors, tuple(recipe.groups)).items()
    }
    if _KEPT in owners.values():
        recipe = replace(recipe, groups={**recipe.groups, _KEPT: _without_experts(recipe, method)})
    parts = slices(owners)
    dialect = Dialect(recipe, method)
    writer = _Writer(dialect, models)
    config = {
        **writer.head(),
        "dtype": "float32",
        "out_dtype": dtype,
        "slices": [writer.slice(part) for part in parts],
    }
    lines = [*dialect.caveats(), *_filter_caveat(parts, owners)]
    return "".join(f"# {line}\n" for line in lines) + _yaml(config)


def _without_experts(recipe: Recipe, method: str) -> GroupRecipe:
    """A layer group of the method whose merge is the base."""
    like = next(group for group in recipe.groups.values() if group.method == method)
    return replace(like, values={**like.values, "coefficient": (0.0,) * len(recipe.experts)})


class _Writer:
    """Turns slices into mergekit's mappings."""

    def __init__(self, dialect: Dialect, models: ModelPaths) -> None:
        self._dialect = dialect
        self._phrase = dialect.phrase
        self._models = models

    def head(self) -> dict[str, object]:
        """Method, base and switches."""
        first = self._models.experts[self._dialect.experts[0]] if self._dialect.experts else ""
        bases = {"base": self._models.base, "first expert": first}
        base = bases.get(self._phrase.base)
        options = dict(self._phrase.options)
        return {
            "merge_method": self._phrase.method,
            **({"base_model": base} if base else {}),
            **({"parameters": options} if options else {}),
        }

    def slice(self, part: Slice) -> dict[str, object]:
        """A slice with its sources and the parameters that they share."""
        sources = [self._base(part)] if self._phrase.base == "base" else []
        for index, expert in enumerate(self._dialect.experts):
            source = _source(self._models.experts[expert], part)
            own = self._expert(part, index)
            sources.append({**source, **({"parameters": own} if own else {})})
        common = {
            name: self._setting(part, _common(name))
            for name in self._dialect.entry(part.default).common
        }
        return {"sources": sources, **({"parameters": common} if common else {})}

    def _base(self, part: Slice) -> dict[str, object]:
        source = _source(self._models.base, part)
        if self._phrase.method != "linear":
            return source
        return {**source, "parameters": {"weight": self._setting(part, lambda e: e.base_weight)}}

    def _expert(self, part: Slice, index: int) -> dict[str, object]:
        return {
            name: self._setting(part, _each(name, index))
            for name in self._dialect.entry(part.default).each
        }

    def _setting(self, part: Slice, value: Callable[[Entry], float]) -> float | Conditional:
        default = value(self._dialect.entry(part.default))
        chosen = {text: value(self._dialect.entry(group)) for text, group in part.filters.items()}
        if all(number == default for number in chosen.values()):
            return default
        rows: Conditional = [{"filter": text, "value": number} for text, number in chosen.items()]
        return [*rows, {"value": default}]


def _common(name: str) -> Callable[[Entry], float]:
    return lambda entry: entry.common[name]


def _each(name: str, index: int) -> Callable[[Entry], float]:
    return lambda entry: entry.each[name][index]


def _source(model: str, part: Slice) -> dict[str, object]:
    return {"model": model, "layer_range": [part.first, part.stop]}


def _filter_caveat(parts: list[Slice], owners: Mapping[str, str]) -> list[str]:
    missed = list(islice(misread(parts, owners), _SHOWN + 1))
    if not missed:
        return []
    names = ", ".join(missed[:_SHOWN]) + (", …" if len(missed) > _SHOWN else "")
    return [
        "mergekit's filters cannot tell these tensors from others of their slice:",
        "  " + names,
    ]


def _yaml(config: Mapping[str, object]) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None  # the innermost lists and mappings on one line
    yaml.width = 100
    yaml.dump(config, text)
    return text.getvalue()
