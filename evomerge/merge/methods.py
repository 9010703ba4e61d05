"""The merge methods: a table of records, each a choice of stages and its searchable parameters.

To add a method: a stage where none fits yet, one record in the table, one line in its tests.

Every method obeys these laws, checked by one suite for the whole table: coefficients of zero give
the base bit for bit; a single coefficient of one at full density gives that expert bit for bit; the
order of the experts does not matter.
"""

from dataclasses import dataclass
from typing import Literal

from evomerge.merge.parameters import Parameter
from evomerge.merge.stages import (
    Combine,
    Elect,
    Sparsify,
    Weigh,
    as_given,
    drop_at_random,
    everyone,
    keep_all,
    keep_largest,
    mean_of_elected,
    shares,
    sign_of_sum,
    total,
)


@dataclass(frozen=True, kw_only=True)
class MergeMethod:
    """A named composition of stages, see `stages`.

    Args:
        name: its name in recipes and experiment files.
        summary: one line for a human.
        reference: where the method was published.
        parameters: its numbers, with the bounds of a search; one is always `coefficient`, by which
            an expert of coefficient zero drops out.
        space: what the stages work on: task vectors, added to the base at the end, or the experts'
            weights themselves.
        sparsify: which entries of an expert's vector stay.
        weigh: the factors λ from the coefficients.
        elect: which experts take part at each entry.
        combine: one vector from those of the experts.
    """

    name: str
    summary: str
    reference: str
    parameters: tuple[Parameter, ...]
    space: Literal["task_vectors", "weights"] = "task_vectors"
    sparsify: Sparsify = keep_all
    weigh: Weigh = as_given
    elect: Elect = everyone
    combine: Combine = total

    @property
    def needs_base(self) -> bool:
        """Whether the merge depends on the base where any coefficient differs from zero."""
        return self.space == "task_vectors"

    def defaults(self) -> dict[str, float]:
        """The value of every parameter at its default, one number for all experts."""
        return {parameter.name: parameter.default for parameter in self.parameters}


LINEAR = MergeMethod(
    name="linear",
    summary="Weighted average of the experts' weights: θ = Σ wᵢ θᵢ / Σ wᵢ.",
    # All zero has no average: it is defined as the base. mergekit's `linear` with its default
    # `normalize: true`, but summed in float32 rather than in the tensors' dtype.
    reference="https://arxiv.org/abs/2203.05482",
    parameters=(
        Parameter(
            "coefficient",
            low=0.0,
            high=1.0,
            default=1.0,  # all equal: the uniform average
            per_expert=True,
            description="relative weight wᵢ of the expert in the average",
        ),
    ),
    space="weights",
    weigh=shares,
)

TASK_ARITHMETIC = MergeMethod(
    name="task_arithmetic",
    summary="Base plus scaled task vectors: θ = θ_base + Σ λᵢ τᵢ.",
    # mergekit's `task_arithmetic` with its defaults.
    reference="https://arxiv.org/abs/2212.04089",
    parameters=(
        Parameter(
            "coefficient",
            # 0 drops an expert, 1 is the whole of it, and beyond lies extrapolation, which helps
            # where averaging with others has diluted a skill.
            low=0.0,
            high=1.5,
            default=0.4,  # recommended where nothing can be tuned: TIES paper, section 5
            per_expert=True,
            description="scale λᵢ of the expert's task vector",
        ),
    ),
)

TIES = MergeMethod(
    name="ties",
    summary="Trim small changes, elect a sign, average the changes that agree with it.",
    # Equal coefficients give the paper's θ_base + λ · τ_m, trimmed tensor by tensor instead of over
    # the whole model. Signs are elected on λᵢ τ̂ᵢ, as mergekit does, so that an expert fades out
    # with its coefficient. mergekit divides by the sum of the agreeing weights, so that only their
    # ratios matter, and keeps exactly k among equal magnitudes.
    reference="https://arxiv.org/abs/2306.01708",
    parameters=(
        Parameter(
            "coefficient",
            low=0.0,
            high=1.5,
            default=1.0,  # with density 0.2 the paper's setting without validation, section 5
            per_expert=True,
            description="scale λᵢ of the expert's trimmed task vector",
        ),
        Parameter(
            "density",
            low=0.05,
            high=1.0,
            default=0.2,
            per_expert=True,
            description="fraction of the task vector's entries kept, the largest first",
        ),
    ),
    sparsify=keep_largest,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

DARE_TIES = MergeMethod(
    name="dare_ties",
    summary="Drop changes at random and rescale, elect a sign, average the changes that agree.",
    # Kept entries are divided by the density, as in the paper, and the agreeing ones averaged, as
    # in TIES. mergekit matches L1 norms instead of dividing, draws new masks at each merge, and
    # sums the agreeing entries instead of averaging them.
    reference="https://arxiv.org/abs/2311.03099",
    parameters=(
        Parameter(
            "coefficient",
            low=0.0,
            high=1.5,
            default=1.0,
            per_expert=True,
            description="scale λᵢ of the expert's thinned task vector",
        ),
        Parameter(
            "density",
            low=0.1,  # below, entries are scaled more than tenfold
            high=1.0,
            default=0.5,
            per_expert=True,
            description="probability that an entry of the task vector is kept",
        ),
    ),
    sparsify=drop_at_random,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

METHODS: dict[str, MergeMethod] = {
    method.name: method for method in (LINEAR, TASK_ARITHMETIC, TIES, DARE_TIES)
}
