"""The space that a search walks: genes in the unit cube, decoded to recipes and back.

The space is derived from the parameter table of the merge method. There is one gene for every
layer group and global parameter, and one for every layer group, per-expert parameter and expert,
in that order. A gene is the place of its value between the parameter's bounds:

    linear:  value = low + gene (high − low)
    log:     value = low (high / low)^gene

Values are rounded (linear to 6 decimals, log to 6 significant digits) so that merges that a human
cannot tell apart have one digest; hence `encode(decode(g))` is g's canonical form, and on canonical
genomes and their recipes both functions are exact inverses.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import ShapeError, UsageError
from evomerge.records import Candidate, GroupRecipe, ParameterValue, Recipe

FloatArray = NDArray[np.float64]
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
class SearchSpace:
    """Every recipe of one method over fixed experts and layer groups.

    `seed` is the recipes' key of random masks, the same for all candidates.

    Raises:
        UsageError: there is no gene, so nothing to search.
    """

    method: SearchableMethod
    experts: tuple[str, ...]
    groups: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_dims == 0:
            raise UsageError(
                f"method {self.method.name} with {len(self.experts)} experts and "
                f"{len(self.groups)} layer groups has nothing to search; "
                "choose a method with parameters, and at least one expert and one group"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The genes' names in order: `group/parameter` or `group/parameter/expert`."""
        return tuple(
            name
            for group in self.groups
            for parameter in self.method.parameters
            for name in self._names_of(group, parameter)
        )

    @property
    def n_dims(self) -> int:
        """The length of a genome."""
        return len(self.names)

    def decode(self, genome: FloatArray) -> Recipe:
        """The recipe that a genome stands for.

        Args:
            genome: `(n_dims,)` genes in [0, 1].

        Raises:
            ShapeError: the genome has another length.
            UsageError: a gene is not a number in [0, 1].
        """
        genes = iter(self._checked(genome).tolist())
        groups = {
            group: GroupRecipe(
                method=self.method.name,
                values={
                    parameter.name: self._decode_value(parameter, genes)
                    for parameter in self.method.parameters
                },
            )
            for group in self.groups
        }
        return Recipe(experts=self.experts, groups=groups, seed=self.seed)

    def encode(self, recipe: Recipe) -> FloatArray:
        """The canonical genome of a recipe of this space, `(n_dims,)` in [0, 1].

        Raises:
            UsageError: the recipe has other experts, groups, methods or parameters, or a value
                outside its bounds.
        """
        self._require_ours(recipe)
        genes = [
            _gene(parameter, value)
            for group in self.groups
            for parameter in self.method.parameters
            for value in _as_tuple(recipe.groups[group].values[parameter.name])
        ]
        return np.array(genes, dtype=np.float64)

    def candidate(self, number: int, genome: FloatArray) -> Candidate:
        """Candidate `number`: the recipe of a genome, and the genome in its canonical form."""
        recipe = self.decode(genome)
        return Candidate(number, tuple(self.encode(recipe).tolist()), recipe)

    def _names_of(self, group: str, parameter: SearchableParameter) -> list[str]:
        name = f"{group}/{parameter.name}"
        return [f"{name}/{expert}" for expert in self.experts] if parameter.per_expert else [name]

    def _decode_value(
        self, parameter: SearchableParameter, genes: Iterator[float]
    ) -> ParameterValue:
        if parameter.per_expert:
            return tuple(_value(parameter, next(genes)) for _ in self.experts)
        return _value(parameter, next(genes))

    def _checked(self, genome: FloatArray) -> FloatArray:
        if genome.shape != (self.n_dims,):
            raise ShapeError(
                f"genome has shape {genome.shape}, expected ({self.n_dims},), one gene for each "
                "of the space's names; was it made for another experiment?"
            )
        outside = ~((genome >= 0.0) & (genome <= 1.0))
        if outside.any():
            first = int(np.argmax(outside))
            raise UsageError(
                f"gene {self.names[first]} is {genome[first]}, expected a number in [0, 1]; "
                "the controller must keep its proposals inside the unit cube"
            )
        return genome

    def _require_ours(self, recipe: Recipe) -> None:
        found = {
            name: (group.method, _shape(group.values)) for name, group in recipe.groups.items()
        }
        shape: dict[str, int | None] = {
            parameter.name: len(self.experts) if parameter.per_expert else None
            for parameter in self.method.parameters
        }
        expected = dict.fromkeys(self.groups, (self.method.name, shape))
        if recipe.experts != self.experts or found != expected or recipe.seed != self.seed:
            raise UsageError(
                f"recipe {recipe.digest} is not of this search space (experts, layer groups, "
                f"method {self.method.name}, its parameters, or the seed differ); "
                "encode it in the space of the experiment that made it"
            )


def _shape(values: Mapping[str, ParameterValue]) -> dict[str, int | None]:
    return {
        name: len(value) if isinstance(value, tuple) else None for name, value in values.items()
    }


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
