"""What a merge method is: a named choice of stages, with its searchable parameters."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from evomerge.merge.parameters import Parameter
from evomerge.merge.posts import PostStage
from evomerge.merge.stages.combine import total
from evomerge.merge.stages.elect import everyone
from evomerge.merge.stages.kinds import Combine, Elect, Matrix, Post, Sparsify, Weigh
from evomerge.merge.stages.sparsify import keep_all
from evomerge.merge.stages.weigh import as_given
from evomerge.merge.statistics import Kind

_MERGEKIT = ":mergekit"

Space = Literal["task_vectors", "weights"]


@dataclass(frozen=True, kw_only=True)
class MergeMethod:
    """A named composition of stages, see `stages.kinds`.

    Args:
        name: its name in recipes and experiment files. Where mergekit's definition differs from the
            paper's, a row of its own has it under the name with `:mergekit` behind.
        summary: one line for a human; of mergekit's definition, what differs.
        reference: where the method was published.
        parameters: its numbers, with the bounds of a search; one is always `coefficient`, by which
            an expert of coefficient zero drops out.
        space: what the stages work on: task vectors, added to the base at the end, or the experts'
            weights themselves.
        sparsify: which entries of an expert's vector stay.
        weigh: the factors of the experts.
        elect: which experts take part at each entry.
        combine: one vector from those of the experts.
        post: what is done to this vector, if anything.
        matrix: for methods that merge matrices as a whole, what replaces the stages from sparsify
            to post on them; these merge whatever is no matrix of a layer (`groups.is_matrix`).
        after: the stages written behind the method's name, in their order.
        only_ratios: whether the coefficients count by their ratios alone; coefficients whose sum is
            zero then have no meaning, and leave the base.
        lenient: whether an expert that the election leaves out takes part all the same where the
            majority is small beside its vote, see `elect.with_slack`.
        reads_weights: whether its stages look at weights beside the vectors.
        n_experts: how many experts it merges, no more and no fewer; None where any number.
        whole_model: whether a tensor's merge depends on the experts' other tensors.
        statistics: what must have been collected from text, see `merge.statistics`.
    """

    name: str
    summary: str
    reference: str
    parameters: tuple[Parameter, ...]
    space: Space = "task_vectors"
    sparsify: Sparsify = keep_all
    weigh: Weigh = as_given
    elect: Elect = everyone
    combine: Combine = total
    post: Post | None = None
    matrix: Matrix | None = None
    after: tuple[PostStage, ...] = ()
    only_ratios: bool = False
    lenient: bool = False
    reads_weights: bool = False
    n_experts: int | None = None
    whole_model: bool = False
    statistics: tuple[Kind, ...] = ()

    @property
    def needs_base(self) -> bool:
        """Whether the merge depends on the base where any coefficient differs from zero."""
        return self.space == "task_vectors" or bool(self.after)

    @property
    def definition(self) -> Literal["paper", "mergekit"]:
        """Whose definition it is."""
        return "mergekit" if _MERGEKIT in self.name else "paper"

    @property
    def traits(self) -> tuple[str, ...]:
        """What a merge with it needs or ignores, each in a few words for a human."""
        named = {
            "needs the base": self.needs_base,
            f"exactly {self.n_experts} experts": self.n_experts is not None,
            "only ratios of coefficients": self.only_ratios,
            "matrices as a whole": self.matrix is not None,
            "reads the whole model": self.whole_model,
            f"needs statistics: {', '.join(self.statistics)}": bool(self.statistics),
        }
        return tuple(name for name, holds in named.items() if holds)

    def defaults(self) -> dict[str, float]:
        """The value of every parameter at its default, one number for all experts."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def as_in_mergekit(self, summary: str, **changes: Any) -> "MergeMethod":
        """The row of mergekit's definition: this one with some stages or parameters changed."""
        return replace(self, name=self.name + _MERGEKIT, summary=summary, **changes)


def coefficient(description: str, *, high: float = 1.5, default: float = 1.0) -> Parameter:
    """The parameter that every method has.

    Args:
        description: what λᵢ or wᵢ multiplies.
        high: 1 is the whole of an expert, and beyond lies extrapolation, which helps where
            averaging with others has diluted a skill.
        default: the value of the method's baseline.
    """
    return Parameter(
        "coefficient",
        low=0.0,
        high=high,
        default=default,
        per_expert=True,
        full=1.0,
        description=description,
    )
