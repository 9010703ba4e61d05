"""Averages in which each expert counts where its own text says that it matters.

Their statistics are collected once by `evomerge prepare`, see `merge.statistics`.
"""

from dataclasses import replace

from evomerge.merge.method import MergeMethod, coefficient
from evomerge.merge.parameters import FRACTION, NOT_NEGATIVE, Parameter
from evomerge.merge.stages.statistics import by_fisher, closest_to_outputs
from evomerge.merge.stages.weigh import shares

REGMEAN = MergeMethod(
    name="regmean",
    summary="Linear maps whose outputs come closest to each expert's on its own text.",
    # The paper's closed form for the linear maps of layers, the mean for all else. Grams are means
    # over tokens, so that an expert with more text does not count more.
    reference="https://arxiv.org/abs/2212.09849",
    parameters=(
        replace(
            coefficient("relative weight wᵢ of the expert's Gram matrices", high=1.0),
            limits=NOT_NEGATIVE,
        ),
        Parameter(
            "off_diagonal",
            low=0.1,
            high=0.95,
            default=0.9,  # the paper's for most models
            per_expert=False,
            limits=FRACTION,
            description="factor of a Gram matrix's entries off its diagonal",
        ),
    ),
    space="weights",
    weigh=shares,
    matrix=closest_to_outputs,
    only_ratios=True,
    statistics=("grams",),
)

FISHER = MergeMethod(
    name="fisher",
    summary="Average of the experts' weights, each entry weighed by its Fisher information.",
    # The floor is relative, where the published code adds 1e-6 whatever the size of F.
    reference="https://arxiv.org/abs/2111.09832",
    parameters=(
        replace(
            coefficient("relative weight wᵢ of the expert's Fisher information", high=1.0),
            limits=NOT_NEGATIVE,
        ),
        Parameter(
            "normalise",
            low=0.0,
            high=1.0,
            default=1.0,
            per_expert=False,
            limits=NOT_NEGATIVE,
            description="power of the norm by which an expert's Fisher information is divided",
        ),
        Parameter(
            "floor",
            low=1e-6,
            high=1.0,
            default=1e-6,
            per_expert=False,
            scale="log",
            limits=NOT_NEGATIVE,
            description="what is added, in units of the tensor's mean; a large one gives the mean",
        ),
    ),
    space="weights",
    weigh=by_fisher,
    only_ratios=True,
    statistics=("fisher",),
)
