"""A recipe in mergekit's words, and what it cannot say."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from evomerge.export.phrases import PHRASES, Entry, Numbers, Phrase
from evomerge.records import GroupRecipe, Recipe

_WIDTH = 90


class Dialect:
    """The one method of a file of mergekit, and the settings of each layer group in it.

    Args:
        recipe: the merge; most of its layer groups, or all, have the method of the file.
        method: our name of this method, one of `PHRASES`.

    `experts` are those that the file names: without weights of their own, experts that no group
    merges are left out.
    """

    def __init__(self, recipe: Recipe, method: str) -> None:
        self.phrase: Phrase = PHRASES[method]
        self._method = method
        self._groups = recipe.groups
        names = recipe.experts
        spoken = {name: _spoken(group, len(names), method) for name, group in recipe.groups.items()}
        merged = [i for i in range(len(names)) if any(_weight(g, i) for g in spoken.values())]
        kept = range(len(names)) if self.phrase.weighted or not self._drops_idle else merged
        self.experts = tuple(names[i] for i in kept)
        self._numbers = {
            name: Numbers(_only(group, kept), len(self.experts)) for name, group in spoken.items()
        }
        self._entries = {
            name: self.phrase.say(self._numbers[name])
            for name in recipe.groups
            if self._is_said(name)
        }

    @property
    def _drops_idle(self) -> bool:
        """slerp has two models whatever their coefficients."""
        return self.phrase.base != "first expert"

    def _is_said(self, name: str) -> bool:
        return _fits(self._groups[name], self._method)

    def entry(self, name: str) -> Entry:
        """The settings of a layer group; of another method's, those of the first that is said."""
        return self._entries.get(name) or next(iter(self._entries.values()))

    def caveats(self) -> Iterator[str]:
        """What merges differently under mergekit, a line or more for each reason."""
        method = self.phrase.method
        foreign = [name for name in self._groups if not self._is_said(name)]
        if foreign:
            yield f"One file holds one method, here {method}. Merged otherwise in evomerge:"
            yield from (f"  {name}: {self._groups[name].method}" for name in foreign)
        if self.phrase.caveat:
            yield from textwrap.wrap(self.phrase.caveat.format(method=method), _WIDTH)
        for reason, names in self._unsaid().items():
            yield from textwrap.wrap(f"{method}: {reason}:", _WIDTH)
            yield f"  {', '.join(names)}"

    def _unsaid(self) -> Mapping[str, Sequence[str]]:
        reasons: dict[str, list[str]] = {}
        for name in self._entries:
            reason = self.phrase.unsaid(self._numbers[name])
            if reason:
                reasons.setdefault(reason, []).append(name)
        return reasons


def common_method(recipe: Recipe) -> str:
    """The one method of the file: the only one, or the one that most layer groups use.

    `linear` and `task_arithmetic` together are task arithmetic with shares as coefficients.
    """
    methods = Counter(group.method for group in recipe.groups.values())
    if set(methods) == {"linear", "task_arithmetic"}:
        return "task_arithmetic"
    return methods.most_common(1)[0][0]


def _fits(group: GroupRecipe, method: str) -> bool:
    return group.method == method or (group.method, method) == ("linear", "task_arithmetic")


def _spoken(group: GroupRecipe, n_experts: int, method: str) -> GroupRecipe:
    """The group with a value for each expert, an average as the sum that it is where need be."""
    values = {
        name: value if isinstance(value, tuple) else (value,) * n_experts
        for name, value in group.values.items()
    }
    if (group.method, method) == ("linear", "task_arithmetic"):
        whole = sum(values["coefficient"])
        values["coefficient"] = tuple(x / whole if whole else 0.0 for x in values["coefficient"])
    return replace(group, values=values)


def _weight(group: GroupRecipe, index: int) -> float:
    value = group.values["coefficient"]
    return value[index] if isinstance(value, tuple) else value


def _only(group: GroupRecipe, kept: Sequence[int]) -> GroupRecipe:
    """The group with the values of some experts alone."""
    values = {
        name: tuple(value[i] for i in kept) if isinstance(value, tuple) else value
        for name, value in group.values.items()
    }
    return replace(group, values=values)
