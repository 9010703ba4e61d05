"""What may stand behind a method's name: `ties+lines+svc` merges by TIES, then runs the two.

To add one: a stage where none fits yet, one record in the table below, one line in its tests. A
stage's parameters are named after it, `lines.slope`, so that they never clash with a method's.
"""

import math
from dataclasses import dataclass

from evomerge.merge.parameters import FRACTION, NOT_NEGATIVE, Parameter
from evomerge.merge.stages.kinds import Post, Whole
from evomerge.merge.stages.post import ramp_over_layers
from evomerge.merge.stages.statistics import spare_active_inputs
from evomerge.merge.stages.whole import calibrate, flatten, to_mean_norm, truncate
from evomerge.merge.statistics import Kind


@dataclass(frozen=True, kw_only=True)
class PostStage:
    """A change of the merged Δ, or of the election before it.

    Exactly one of `stage`, `whole` and `lenient` is set.

    Args:
        name: what is written behind the `+`.
        summary: one line for a human.
        reference: where it was published.
        parameters: its numbers, named `name.something`; a recipe has them beside the method's.
        only_matrices: whether tensors that are no matrix of a layer (`groups.is_matrix`) stay as
            they are.
        stage: what is done to Δ span by span. The stack it gets is that of the experts' task
            vectors, whatever the method's own vectors are.
        whole: the same for what needs the whole of a tensor at once.
        lenient: whether it makes the method's election by sign lenient, see `elect.with_slack`.
        statistics: what must have been collected from text, see `merge.statistics`.
    """

    name: str
    summary: str
    reference: str
    parameters: tuple[Parameter, ...]
    only_matrices: bool = False
    stage: Post | None = None
    whole: Whole | None = None
    lenient: bool = False
    statistics: tuple[Kind, ...] = ()

    @property
    def traits(self) -> tuple[str, ...]:
        """What it works on or needs, each in a few words for a human."""
        named = {
            "matrices of layers only": self.only_matrices,
            "whole tensors": self.whole is not None,
            "methods that elect signs": self.lenient,
            f"needs statistics: {', '.join(self.statistics)}": bool(self.statistics),
        }
        return tuple(name for name, holds in named.items() if holds)


LINES = PostStage(
    name="lines",
    summary="Scale Δ by the layer, from `start` at the first to `start` + `slope` at the last.",
    # Outside the layers the scale is `start`, as in the reference.
    reference="https://arxiv.org/abs/2410.17146",
    parameters=(
        Parameter(
            "lines.start",
            low=0.0,
            high=1.5,
            default=1.0,
            per_expert=False,
            full=1.0,
            description="scale of Δ at the first layer and outside the layers",
        ),
        Parameter(
            "lines.slope",
            low=-1.0,
            high=1.5,
            default=0.5,
            per_expert=False,
            full=0.0,
            description="what the last layer's scale has more than the first layer's",
        ),
    ),
    stage=ramp_over_layers,
)

SVC = PostStage(
    name="svc",
    summary="Shrink directions of Δ in which several experts add up.",
    reference="https://arxiv.org/abs/2602.05536",
    parameters=(
        Parameter(
            "svc.alpha",
            low=0.05,
            high=1.0,
            default=0.1,
            per_expert=False,
            limits=(1e-6, math.inf),
            full=0.1,  # as any up to 1
            description="the least that an expert's share of a direction counts as",
        ),
    ),
    only_matrices=True,
    whole=calibrate,
)

LOW_RANK = PostStage(
    name="low_rank",
    summary="Keep the largest singular values of Δ.",
    # By Eckart and Young the nearest matrix of that rank.
    reference="https://doi.org/10.1007/BF02288367",
    parameters=(
        Parameter(
            "low_rank.share",
            low=0.02,
            high=1.0,
            default=0.25,
            per_expert=False,
            limits=FRACTION,
            full=1.0,
            description="rank of Δ that is kept, as a fraction of the full rank",
        ),
    ),
    only_matrices=True,
    whole=truncate,
)

FLATTEN = PostStage(
    name="flatten",
    summary="Bring the singular values S of Δ nearer to each other: S^(1 − q), the same sum.",
    # q = 1 is Iso-C; the exponent is our addition.
    reference="https://arxiv.org/abs/2502.04959",
    parameters=(
        Parameter(
            "flatten.q",
            low=0.0,
            high=1.0,
            default=0.5,
            per_expert=False,
            limits=FRACTION,
            full=0.0,
            description="how flat: 0 leaves Δ, 1 makes all singular values equal",
        ),
    ),
    only_matrices=True,
    whole=flatten,
)

NORM_MATCH = PostStage(
    name="norm_match",
    summary="Scale Δ of each tensor toward the mean norm of the experts' task vectors.",
    # OPCM's last step, tensor by tensor.
    reference="https://arxiv.org/abs/2501.09522",
    parameters=(
        Parameter(
            "norm_match.strength",
            low=0.0,
            high=1.0,
            default=1.0,
            per_expert=False,
            description="power of the scale: 0 leaves Δ, 1 gives it the mean norm",
        ),
    ),
    whole=to_mean_norm,
)

SLACK = PostStage(
    name="slack",
    summary="A change outvoted by less than `share` times itself is merged all the same.",
    # 0 is the election of TIES; the slack is our definition.
    reference="https://arxiv.org/abs/2306.01708",
    parameters=(
        Parameter(
            "slack.share",
            low=0.0,
            high=1.0,
            default=0.2,
            per_expert=False,
            limits=NOT_NEGATIVE,
            description="how large the sum of votes may be beside an expert's own opposite one",
        ),
    ),
    lenient=True,
)

AIM = PostStage(
    name="aim",
    summary="Damp Δ of the inputs that are most active in the base on general text.",
    # The reference's: columns of linear maps, entries of norms; embeddings stay as they are.
    reference="https://arxiv.org/abs/2502.02421",
    parameters=(
        Parameter(
            "aim.omega",
            low=0.2,
            high=0.6,
            default=0.4,
            per_expert=False,
            limits=FRACTION,
            full=1.0,
            description="what is left of the change of the most active input",
        ),
    ),
    stage=spare_active_inputs,
    statistics=("activations",),
)

POSTS: dict[str, PostStage] = {
    stage.name: stage for stage in (LINES, SVC, LOW_RANK, FLATTEN, NORM_MATCH, SLACK, AIM)
}
