"""A recipe as a configuration of mergekit, for people who merge with it.

Only the format is mergekit's (https://github.com/arcee-ai/mergekit). One file holds one method, and
a filter is a substring of tensor names of which the first that fits decides.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from ruamel.yaml import YAML

from evomerge.export.dialect import TRANSLATED, Entry, caveats, common_method, entry, has_density
from evomerge.export.slices import Slice, misread, slices
from evomerge.merge.groups import assign
from evomerge.records import GroupRecipe, Recipe

Conditional = list[dict[str, str | float]]
_KEPT = "the base's"
"""What stands for the group of tensors that no group of the recipe holds."""

_SHOWN = 5
_UNTRANSLATED = """\
# Merged by {method}, which evomerge does not say in mergekit's words (it says {known}).
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

    Where it cannot, comments at the top say which layer groups differ, and why; of a method that is
    not translated there are comments alone. Sums are taken in float32, as here: mergekit's own
    default is the dtype of the tensors.

    Args:
        recipe: the merge.
        models: the base and each of the recipe's experts.
        tensors: the names of the base's tensors.
        dtype: the dtype of the written weights, such as `bfloat16`.

    Raises:
        UsageError: the recipe's layer groups do not fit the tensors.
    """
    method = common_method(recipe)
    if method not in TRANSLATED:
        return _UNTRANSLATED.format(method=method, known=", ".join(TRANSLATED))
    owners = {
        name: group if group in recipe.groups else _KEPT
        for name, group in assign(tensors, tuple(recipe.groups)).items()
    }
    parts = slices(owners)
    writer = _Writer(recipe, models, method)
    config = {
        "merge_method": method,
        "base_model": models.base,
        "dtype": "float32",
        "out_dtype": dtype,
        "parameters": {"normalize": method != "task_arithmetic"},
        "slices": [writer.slice(part) for part in parts],
    }
    lines = [*caveats(recipe, method), *_filter_caveat(parts, owners)]
    return "".join(f"# {line}\n" for line in lines) + _yaml(config)


class _Writer:
    """Turns slices into mergekit's mappings."""

    def __init__(self, recipe: Recipe, models: ModelPaths, method: str) -> None:
        self._experts = recipe.experts
        self._models = models
        self._method = method
        groups = {**recipe.groups, _KEPT: GroupRecipe(method, {"coefficient": 0.0})}
        self._entries = {
            name: entry(group, len(recipe.experts), method) for name, group in groups.items()
        }

    def slice(self, part: Slice) -> dict[str, object]:
        base = _source(self._models.base, part)
        if self._method == "linear":  # the base stands in where every coefficient is zero
            base["parameters"] = {"weight": self._setting(part, lambda e: e.base_weight)}
        sources = [base]
        for index, expert in enumerate(self._experts):
            source = _source(self._models.experts[expert], part)
            sources.append({**source, "parameters": self._expert(part, index)})
        if not has_density(self._method):
            return {"sources": sources}
        scale = self._setting(part, lambda e: e.scale)
        return {"sources": sources, "parameters": {"lambda": scale}}

    def _expert(self, part: Slice, index: int) -> dict[str, object]:
        settings: dict[str, object] = {
            "weight": self._setting(part, lambda entry: entry.weights[index])
        }
        if has_density(self._method):
            settings["density"] = self._setting(part, lambda entry: entry.densities[index])
        return settings

    def _setting(self, part: Slice, value: Callable[[Entry], float]) -> float | Conditional:
        default = value(self._entries[part.default])
        chosen = {text: value(self._entries[group]) for text, group in part.filters.items()}
        if all(number == default for number in chosen.values()):
            return default
        rows: Conditional = [{"filter": text, "value": number} for text, number in chosen.items()]
        return [*rows, {"value": default}]


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
