"""The space that a search walks: genes in the unit cube, decoded to recipes and back.

The space is derived from the parameter tables of the merge methods. A layer group has, in order:

- where there are several methods to choose from, one gene that chooses: k methods share [0, 1] as k
  equal parts;
- one gene for every global parameter of these methods, and one for every per-expert parameter and
  expert. Methods that have a parameter of the same name share its genes.

A gene is the place of its value between the bounds that the chosen method has for it:

    linear:  value = low + gene (high − low)
    log:     value = low (high / low)^gene

Values are rounded (linear to 6 decimals, log to 6 significant digits) so that merges that a human
cannot tell apart have one digest; hence `encode(decode(g))` is g's canonical form, and on canonical
genomes and their recipes both functions are exact inverses. In it, a gene that chooses lies in the
middle of its part, and a gene that the chosen method does not use is at the parameter's default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import ShapeError, UsageError
from evomerge.records import Candidate, Recipe
from evomerge.search.genes import Block, SearchableMethod

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SearchSpace:
    """Every recipe over fixed experts and layer groups, each group with methods to choose from.

    Args:
        methods: the methods of each layer group, in depth order.
        experts: the experts' names.
        seed: the recipes' key of random masks, the same for all candidates.

    Raises:
        UsageError: there is no gene, so nothing to search.
    """

    methods: Mapping[str, Sequence[SearchableMethod]]
    experts: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_dims == 0:
            raise UsageError(
                f"{len(self.experts)} experts and {len(self.methods)} layer groups with methods "
                f"{self._listed} have nothing to search; "
                "choose a method with parameters, and at least one expert and one group"
            )

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The genes of each layer group, in order."""
        n = len(self.experts)
        return tuple(Block(group, tuple(choice), n) for group, choice in self.methods.items())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The genes' names in order: `group/method`, `group/parameter[/expert]`."""
        return tuple(name for block in self.blocks for name in block.names(self.experts))

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
        groups = {block.group: block.decode(genes) for block in self.blocks}
        return Recipe(experts=self.experts, groups=groups, seed=self.seed)

    def encode(self, recipe: Recipe) -> FloatArray:
        """The canonical genome of a recipe of this space, `(n_dims,)` in [0, 1].

        Raises:
            UsageError: the recipe has other experts, groups, methods or parameters, or a value
                outside its bounds.
        """
        self._require_ours(recipe)
        genes = (gene for b in self.blocks for gene in b.encode(recipe.groups[b.group]))
        return np.fromiter(genes, np.float64, self.n_dims)

    def candidate(self, number: int, genome: FloatArray) -> Candidate:
        """Candidate `number`: the recipe of a genome, and the genome in its canonical form."""
        recipe = self.decode(genome)
        return Candidate(number, tuple(self.encode(recipe).tolist()), recipe)

    @property
    def _listed(self) -> str:
        names = dict.fromkeys(m.name for choice in self.methods.values() for m in choice)
        return ", ".join(names) or "none"

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
        if (
            recipe.experts != self.experts
            or recipe.groups.keys() != self.methods.keys()
            or recipe.seed != self.seed
            or not all(block.holds(recipe.groups[block.group]) for block in self.blocks)
        ):
            raise UsageError(
                f"recipe {recipe.digest} is not of this search space (experts, layer groups, "
                f"methods {self._listed}, their parameters, or the seed differ); "
                "encode it in the space of the experiment that made it"
            )
