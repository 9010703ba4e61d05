"""Methods that settle, entry by entry or column by column, what several experts change."""

from evomerge.merge.catalogue.averages import TASK_ARITHMETIC
from evomerge.merge.catalogue.sparse import TIES
from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.parameters import FRACTION, NOT_NEGATIVE, Parameter
from evomerge.merge.stages.combine import largest, mean_of_elected, ratio_of_elected
from evomerge.merge.stages.counts import (
    amplified_by_model,
    amplified_by_tensor,
    shared_and_unique,
)
from evomerge.merge.stages.elect import sign_of_sum, sign_of_sum_or_plus
from evomerge.merge.stages.post import matters_to_enough
from evomerge.merge.stages.scores import by_competition, by_significance, without_outliers
from evomerge.merge.stages.weigh import by_energy_of_selected, by_energy_on_selected

_COEFFICIENT = coefficient("scale λᵢ of the expert's task vector")
_SELECT = Parameter(
    "select_topk",
    low=0.05,
    high=1.0,
    default=0.1,
    per_expert=False,
    limits=FRACTION,
    description="fraction of the entries, those where experts differ most, that weigh the experts",
)

SCE = MergeMethod(
    name="sce",
    summary="Weigh experts by their energy where they differ, average those that agree in sign.",
    # The authors' code: the selection weighs the experts, all entries are merged.
    reference="https://arxiv.org/abs/2408.07990",
    parameters=(_COEFFICIENT, _SELECT),
    weigh=by_energy_of_selected,
    elect=sign_of_sum,
    combine=mean_of_elected,
)

SCE_MERGEKIT = SCE.as_in_mergekit(
    "SCE that also drops all changes where the experts do not differ enough.",
    # mergekit takes no weights; with all coefficients equal it is the same.
    parameters=(
        coefficient("relative weight wᵢ of the expert beside its energy", high=1.0),
        Parameter(
            "select_topk",
            low=0.05,
            high=1.0,
            default=1.0,
            per_expert=False,
            limits=FRACTION,
            full=1.0,
            description="fraction of the entries, those where experts differ most, that are merged",
        ),
    ),
    weigh=by_energy_on_selected,
    elect=sign_of_sum_or_plus,
    combine=ratio_of_elected,
)

_TALL = Parameter(
    "tall",
    low=0.1,
    high=1.0,
    default=0.4,  # the middle of those that the authors search
    per_expert=False,
    limits=NOT_NEGATIVE,
    description="how much nearer the base than the merge a weight of an expert may be and still "
    "count as one that matters to it (λ of the TALL masks)",
)
_LEAST_EXPERTS = Parameter(
    "k",
    low=0.0,
    high=4.0,
    default=2.0,
    per_expert=False,
    limits=NOT_NEGATIVE,
    description="number of experts, rounded, to whom a change must matter: 0 keeps all, 1 drops "
    "those that matter to none, 2 also those that matter to one alone",
)

CONSENSUS = MergeMethod(
    name="consensus",
    summary="Task arithmetic without the changes that matter to too few experts (TALL masks).",
    reference="https://arxiv.org/abs/2405.07813",
    parameters=(*TASK_ARITHMETIC.parameters, _TALL, _LEAST_EXPERTS),
    post=matters_to_enough,
)

CONSENSUS_TIES = MergeMethod(
    name="consensus_ties",
    summary="TIES without the changes that matter to too few experts (TALL masks).",
    reference="https://arxiv.org/abs/2405.07813",
    parameters=(*TIES.parameters, _TALL, _LEAST_EXPERTS),
    sparsify=TIES.sparsify,
    elect=TIES.elect,
    combine=TIES.combine,
    post=matters_to_enough,
)

EMR = MergeMethod(
    name="emr",
    summary="Elect a sign, take the largest change that agrees: the unified model of EMR-Merging.",
    # Its masks and rescalers restore one task each and need to know the task, so they are not here.
    # Where changes cancel exactly the base stays; the authors' code takes the largest negative one.
    reference="https://arxiv.org/abs/2405.17461",
    parameters=(_COEFFICIENT,),
    elect=sign_of_sum,
    combine=largest,
)

MAGMAX = MergeMethod(
    name="magmax",
    summary="Take the largest change of all experts at each entry.",
    # Where two of opposite sign are equal the base stays; the authors' code takes the first.
    reference="https://arxiv.org/abs/2407.06322",
    parameters=(_COEFFICIENT,),
    combine=largest,
)

PCB = MergeMethod(
    name="pcb",
    summary="Score changes by competition within and between experts, average by the scores.",
    # The authors' code (tanh of the products, where the paper has a softmax), tensor by tensor
    # instead of over the whole model. The products make it depend on the size of large vectors.
    reference="https://arxiv.org/abs/2410.02396",
    parameters=(
        coefficient("scale λᵢ of the expert's task vector", default=1.2),
        Parameter(
            "density",
            low=0.02,
            high=1.0,
            default=0.1,
            per_expert=False,
            limits=FRACTION,
            full=float("inf"),
            description="fraction of an expert's entries, those of the highest score, that stay",
        ),
    ),
    sparsify=without_outliers,
    weigh=by_competition,
    combine=mean_of_elected,
)

WIDEN = MergeMethod(
    name="widen",
    summary="Scale each column of a task vector by how much it changed length and direction.",
    reference="https://arxiv.org/abs/2408.03092",
    parameters=(
        _COEFFICIENT,
        Parameter(
            "ratio",
            low=0.5,
            high=3.0,
            default=1.0,
            per_expert=False,
            description="how far above its expert's mean a column's rank must be to be calibrated",
        ),
        Parameter(
            "calibration",
            low=0.1,
            high=1.5,
            default=1.0,
            per_expert=False,
            full=1.0,
            description="the score of such a column; of others it is the softmax over the experts",
        ),
    ),
    weigh=by_significance,
    reads_weights=True,
)

_EPSILON = Parameter(
    "epsilon",
    low=1e-7,
    high=1e-3,
    default=1e-5,
    per_expert=False,
    scale="log",
    limits=NOT_NEGATIVE,
    full=0.0,
    description="change of a weight up to which it counts as unchanged, in units of the weights",
)

RAM = MergeMethod(
    name="ram",
    summary="Average the changes that several experts share, keep those of a single one whole.",
    reference="https://arxiv.org/abs/2601.13572",
    parameters=(_COEFFICIENT, _EPSILON),
    weigh=shared_and_unique,
)

RAM_PLUS = MergeMethod(
    name="ram_plus",
    summary="RAM, with an expert's own changes amplified by how much of its others is shared.",
    # Shared and own changes are counted over the whole model.
    reference="https://arxiv.org/abs/2601.13572",
    parameters=(
        _COEFFICIENT,
        _EPSILON,
        Parameter(
            "r",
            low=0.0,
            high=1.0,
            default=0.1,
            per_expert=False,
            description="amplification for each shared entry beside an own one",
        ),
        Parameter(
            "alpha",
            low=0.0,
            high=2.0,
            default=0.2,
            per_expert=False,
            limits=NOT_NEGATIVE,
            description="shared entries beside each own one that are counted at most",
        ),
    ),
    weigh=amplified_by_model,
    whole_model=True,
)

RAM_PLUS_MERGEKIT = RAM_PLUS.as_in_mergekit(
    "RAM+ with shared and own changes counted in each tensor alone: mergekit's `ramplus_tl`.",
    weigh=amplified_by_tensor,
    whole_model=False,
)
