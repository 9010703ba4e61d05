"""The genes of one layer group: its method, if there is a choice, and the parameters' values."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from evomerge.errors import UsageError
from evomerge.records import GroupRecipe, ParameterValue

DIGITS = 6


class SearchableParameter(Protocol):
    """What the search needs of `merge.parameters.Parameter`."""

    @property
    def name(self) -> str: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def default(self) -> float: ...
    @property
    def per_expert(self) -> bool: ...
    @property
    def scale(self) -> Literal["linear", "log"]: ...


class SearchableMethod(Protocol):
    """What the search needs of a merge method."""

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> Sequence[SearchableParameter]: ...


@dataclass(frozen=True)
class Block:
    """The genes of one layer group: which methods it has, and the parameters that they share.

    Args:
        group: the layer group.
        methods: what to choose from, one or more.
        n_experts: how many genes a per-expert parameter has.
    """

    group: str
    methods: tuple[SearchableMethod, ...]
    n_experts: int

    @property
    def chooses(self) -> bool:
        """Whether the first gene says which method it is."""
        return len(self.methods) > 1

    @cached_property
    def parameters(self) -> dict[tuple[str, bool], SearchableParameter]:
        """The first method's parameter for each name and sort, in the order of their genes."""
        found: dict[tuple[str, bool], SearchableParameter] = {}
        for method in self.methods:
            for parameter in method.parameters:
                found.setdefault((parameter.name, parameter.per_expert), parameter)
        return found

    def names(self, experts: Sequence[str]) -> Iterator[str]:
        """The names of the genes."""
        if self.chooses:
            yield f"{self.group}/method"
        for name, per_expert in self.parameters:
            gene = f"{self.group}/{name}"
            yield from (f"{gene}/{expert}" for expert in experts) if per_expert else (gene,)

    def decode(self, genes: Iterator[float]) -> GroupRecipe:
        """The group's part of a recipe; takes as many genes as there are names."""
        k = len(self.methods)
        method = self.methods[min(int(next(genes) * k), k - 1) if self.chooses else 0]
        taken = {
            key: tuple(next(genes) for _ in range(self.n_experts if key[1] else 1))
            for key in self.parameters
        }
        values: dict[str, ParameterValue] = {}
        for parameter in method.parameters:
            own = taken[parameter.name, parameter.per_expert]
            decoded = tuple(_value(parameter, gene) for gene in own)
            values[parameter.name] = decoded if parameter.per_expert else decoded[0]
        return GroupRecipe(method.name, values)

    def encode(self, recipe: GroupRecipe) -> Iterator[float]:
        """The canonical genes of a group's part of a recipe that `holds`."""
        index = [method.name for method in self.methods].index(recipe.method)
        if self.chooses:
            yield (index + 0.5) / len(self.methods)
        used = {(p.name, p.per_expert): p for p in self.methods[index].parameters}
        for key, first in self.parameters.items():
            if key in used:
                values = _as_tuple(recipe.values[key[0]])
                yield from (_gene(used[key], value) for value in values)
            else:
                yield from (_gene(first, first.default),) * (self.n_experts if key[1] else 1)

    def holds(self, recipe: GroupRecipe) -> bool:
        """Whether it is a recipe of one of the methods, with the values that this one takes."""
        found = {
            name: len(value) if isinstance(value, tuple) else None
            for name, value in recipe.values.items()
        }
        return any(
            method.name == recipe.method
            and found
            == {p.name: self.n_experts if p.per_expert else None for p in method.parameters}
            for method in self.methods
        )


def _as_tuple(value: ParameterValue) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _value(parameter: SearchableParameter, gene: float) -> float:
    low, high = parameter.low, parameter.high
    if parameter.scale == "log":
        value = float(f"{low * (high / low) ** gene:.{DIGITS}g}")
    else:
        value = round(low + gene * (high - low), DIGITS)
    # Rounding may step over a bound that itself has more digits.
    return min(max(value, low), high)


def _gene(parameter: SearchableParameter, value: float) -> float:
    low, high = parameter.low, parameter.high
    if not low <= value <= high:
        raise UsageError(
            f"{parameter.name} is {value}, expected a number in [{low}, {high}]; "
            "the recipe is not of this search space"
        )
    if parameter.scale == "log":
        gene = math.log(value / low) / math.log(high / low)
    else:
        gene = (value - low) / (high - low)
    return min(max(gene, 0.0), 1.0)
