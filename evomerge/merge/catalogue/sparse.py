"""Sparse task vectors: some entries of each are dropped, then signs are elected or not."""

from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.parameters import FRACTION, NOT_NEGATIVE, Parameter
from evomerge.merge.stages.combine import mean_of_elected, ratio_of_elected, total
from evomerge.merge.stages.elect import changed, sign_of_sum, sign_of_sum_or_plus
from evomerge.merge.stages.post import times_lambda
from evomerge.merge.stages.scores import keep_important
from evomerge.merge.stages.sparsify import (
    clamp,
    drop_at_random,
    drop_by_rank,
    drop_by_rank_within_epsilon,
    drop_without_rescaling,
    keep_band,
    keep_largest,
    keep_largest_rounded_down,
    matching_l1,
)


def _density(description: str, *, low: float, default: float) -> Parameter:
    return Parameter(
        "density",
        low=low,
        high=1.0,
        default=default,
        per_expert=True,
        limits=FRACTION,
        full=1.0,
        description=description,
    )


_THINNED = coefficient("scale λᵢ of the expert's thinned task vector")
_LARGEST = coefficient("scale λᵢ of the expert's trimmed task vector")
# Below 0.1 entries are scaled more than tenfold.
_PROBABILITY = _density(
    "probability that an entry of the task vector is kept", low=0.1, default=0.5
)
_SCALE = Parameter(
    "lambda",
    low=0.0,
    high=1.5,
    default=1.0,
    per_expert=False,
    full=1.0,
    description="scale of the merged task vector",
)

TIES = MergeMethod(
    name="ties",
    summary="Trim small changes, elect a sign, average the changes that agree with it.",
    # Equal coefficients give the paper's θ_base + λ · τ_m, trimmed tensor by tensor instead of over
    # the whole model. Signs are elected on λᵢ τ̂ᵢ, as mergekit does, so that an expert fades out
    # with its coefficient.
    reference="https://arxiv.org/abs/2306.01708",
    parameters=(
        _LARGEST,  # 1 with density 0.2 is the paper's setting without validation, section 5
        _density(
            "fraction of the task vector's entries kept, the largest first", low=0.05, default=0.2
        ),
    ),
    sparsify=keep_largest,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

TIES_MERGEKIT = TIES.as_in_mergekit(
    "TIES with the agreeing changes' weighted mean, whatever the size of the weights, times λ.",
    # Of n entries ⌊density · n⌋ are kept; mergekit chooses at random among equals of the last.
    # Where changes cancel exactly the positive ones win.
    parameters=(*TIES.parameters, _SCALE),
    sparsify=keep_largest_rounded_down,
    elect=sign_of_sum_or_plus,
    combine=ratio_of_elected,
    post=times_lambda,
)

DARE_LINEAR = MergeMethod(
    name="dare_linear",
    summary="Drop changes at random and rescale the others, then add up: task arithmetic.",
    reference="https://arxiv.org/abs/2311.03099",
    parameters=(_THINNED, _PROBABILITY),
    sparsify=drop_at_random,
)

DARE_TIES = MergeMethod(
    name="dare_ties",
    summary="Drop changes at random and rescale, elect a sign, average the changes that agree.",
    # Kept entries are divided by the density, as in the paper, and the agreeing ones averaged, as
    # in TIES.
    reference="https://arxiv.org/abs/2311.03099",
    parameters=(_THINNED, _PROBABILITY),
    sparsify=drop_at_random,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

# mergekit draws new masks at each merge; these have the same distribution.
DARE_LINEAR_MERGEKIT = DARE_LINEAR.as_in_mergekit(
    "DARE rescaled to the L1 norm that the task vector had, instead of by 1 / density.",
    parameters=(*DARE_LINEAR.parameters, _SCALE),
    sparsify=matching_l1(drop_without_rescaling),
    post=times_lambda,
)
DARE_TIES_MERGEKIT = DARE_TIES.as_in_mergekit(
    "DARE rescaled to the L1 norm that the task vector had; agreeing changes are added up.",
    parameters=(*DARE_TIES.parameters, _SCALE),
    sparsify=matching_l1(drop_without_rescaling),
    elect=sign_of_sum_or_plus,
    combine=total,
    post=times_lambda,
)

DELLA = MergeMethod(
    name="della",
    summary="Drop small changes with higher probability, elect a sign, average those that agree.",
    # The paper's MagPrune: probabilities by rank in the row, kept entries divided by their own.
    reference="https://arxiv.org/abs/2406.11617",
    parameters=(
        _THINNED,
        _PROBABILITY,
        Parameter(
            "epsilon",
            low=0.0,
            high=0.9,  # below 1, so that every entry has a chance to stay
            default=0.5,
            per_expert=True,
            limits=FRACTION,
            description="how far the probability may leave the density for the smallest and the "
            "largest entry of a row, as a fraction of the way to 0 or 1",
        ),
    ),
    sparsify=drop_by_rank,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

DELLA_LINEAR = MergeMethod(
    name="della_linear",
    summary="Drop small changes with higher probability, then add up: task arithmetic.",
    reference="https://arxiv.org/abs/2406.11617",
    parameters=DELLA.parameters,
    sparsify=drop_by_rank,
)

_MERGEKIT_EPSILON = Parameter(
    "epsilon",
    low=0.0,
    high=0.3,
    default=0.15,
    per_expert=True,
    limits=FRACTION,
    description="how far the probability leaves the density for the smallest and the largest entry",
)
DELLA_MERGEKIT = DELLA.as_in_mergekit(
    "DELLA rescaled to the L1 norm that the task vector had; weighted mean of agreeing changes.",
    parameters=(_THINNED, _PROBABILITY, _MERGEKIT_EPSILON, _SCALE),
    sparsify=matching_l1(drop_by_rank_within_epsilon),
    elect=sign_of_sum_or_plus,
    combine=ratio_of_elected,
    post=times_lambda,
)
DELLA_LINEAR_MERGEKIT = DELLA_LINEAR.as_in_mergekit(
    "Linear DELLA rescaled to the L1 norm that the task vector had.",
    parameters=DELLA_MERGEKIT.parameters,
    sparsify=DELLA_MERGEKIT.sparsify,
    post=times_lambda,
)

BREADCRUMBS = MergeMethod(
    name="breadcrumbs",
    summary="Drop the largest changes and the smallest, then add up: task arithmetic.",
    # Tensor by tensor, without rescaling, as in the paper and in mergekit.
    reference="https://arxiv.org/abs/2312.06795",
    parameters=(
        _LARGEST,
        _density("fraction of the task vector's entries kept", low=0.05, default=0.9),
        Parameter(
            "gamma",
            low=0.0,
            high=0.1,
            default=0.01,
            per_expert=True,
            limits=FRACTION,
            description="fraction of the entries, the largest, dropped as outliers while that "
            "leaves enough to keep",
        ),
    ),
    sparsify=keep_band,
)

BREADCRUMBS_TIES = MergeMethod(
    name="breadcrumbs_ties",
    summary="Drop the largest changes and the smallest, elect a sign, add up those that agree.",
    # mergekit's combination; the paper has none with an election.
    reference="https://arxiv.org/abs/2312.06795",
    parameters=BREADCRUMBS.parameters,
    sparsify=keep_band,
    elect=sign_of_sum,
)

LOCALIZE_STITCH = MergeMethod(
    name="localize_stitch",
    summary="Keep a small part of each task vector, average where parts overlap.",
    # The paper's dataless variant, with the largest entries of each tensor in place of those of the
    # whole model; the masks learned from data are not here.
    reference="https://arxiv.org/abs/2408.13656",
    parameters=(
        _LARGEST,
        _density(
            "fraction of the task vector's entries kept, the largest first", low=0.01, default=0.05
        ),
    ),
    sparsify=keep_largest,
    elect=changed,
    combine=mean_of_elected,
)

NEARSWAP = MergeMethod(
    name="nearswap",
    summary="Take an expert's weights where they are near the base's, move by ±t elsewhere.",
    # mergekit's, which takes one expert; several are added up as in task arithmetic.
    reference="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    parameters=(
        coefficient("scale λᵢ of the expert's clamped task vector"),
        Parameter(
            "t",
            low=1e-5,
            high=1e-2,
            default=1e-3,
            per_expert=True,
            scale="log",
            limits=NOT_NEGATIVE,
            full=float("inf"),
            description="how far a weight may move, in units of the weights",
        ),
    ),
    sparsify=clamp,
)

ARCEE_FUSION = MergeMethod(
    name="arcee_fusion",
    summary="Keep the changes that are important beyond the quartiles of the tensor, add up.",
    # mergekit's at `iqr` 1.5, which takes one expert; several are added up as in task arithmetic.
    reference="https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md",
    parameters=(
        coefficient("scale λᵢ of the expert's selected changes"),
        Parameter(
            "iqr",
            low=-0.5,
            high=3.0,
            default=1.5,
            per_expert=True,
            full=float("-inf"),
            description="interquartile ranges above the median from which a change is important",
        ),
    ),
    sparsify=keep_important,
    reads_weights=True,
)
