"""Which stages and dtypes the compiled loops know, and the numbers by which they know them."""

from collections.abc import Callable

import torch

from evomerge.merge.groups import is_matrix
from evomerge.merge.plans import GroupPlan
from evomerge.merge.stages.combine import mean_of_elected, ratio_of_elected, total
from evomerge.merge.stages.elect import changed, everyone, sign_of_sum, sign_of_sum_or_plus
from evomerge.merge.stages.kinds import Combine, Elect, Settings, Sparsify, Weigh
from evomerge.merge.stages.post import times_lambda
from evomerge.merge.stages.sparsify import (
    Ranks,
    drop_at_random,
    drop_by_rank,
    keep_all,
    keep_band,
    keep_largest,
    keep_largest_rounded_down,
    ranks_of_band,
    ranks_of_largest,
    ranks_of_largest_rounded_down,
)
from evomerge.merge.stages.weigh import as_given, normalised, shares
from evomerge.merge.sums import row_length
from evomerge.records import TensorInfo

BFLOAT16, FLOAT16, FLOAT32 = range(3)
DTYPES = {torch.bfloat16: BFLOAT16, torch.float16: FLOAT16, torch.float32: FLOAT32}

KEEP_ALL, KEEP_BAND, KEEP_RANDOM, KEEP_BY_RANK = range(4)
RANKS: dict[Sparsify, Callable[[int, Settings], Ranks]] = {
    keep_largest: ranks_of_largest,
    keep_largest_rounded_down: ranks_of_largest_rounded_down,
    keep_band: ranks_of_band,
}
"""Of the stages that keep entries by their rank in the tensor, which ranks those are."""

WEIGHTS: dict[Weigh, Callable[[tuple[float, ...]], tuple[float, ...]]] = {
    as_given: tuple,
    shares: normalised,
}
"""Of the stages whose factors are numbers, how they come from the coefficients."""

EVERYONE, SIGN_OF_SUM, SIGN_OF_SUM_OR_PLUS, CHANGED = range(4)
ELECTIONS: dict[Elect, int] = {
    everyone: EVERYONE,
    sign_of_sum: SIGN_OF_SUM,
    sign_of_sum_or_plus: SIGN_OF_SUM_OR_PLUS,
    changed: CHANGED,
}

TOTAL, MEAN_OF_ELECTED, RATIO_OF_ELECTED = range(3)
COMBINATIONS: dict[Combine, int] = {
    total: TOTAL,
    mean_of_elected: MEAN_OF_ELECTED,
    ratio_of_elected: RATIO_OF_ELECTED,
}

_LONGEST_ROW = 1 << 20
"""Of the rows that are ranked; an entry takes 16 bytes in each thread, and 4 for each expert."""


def is_known(info: TensorInfo, plan: GroupPlan) -> bool:
    """Whether the compiled loops can do all that a plan asks for on a tensor."""
    method = plan.method
    elects = method.elect is not everyone
    return (
        info.dtype in DTYPES
        and plan.copied_expert is None
        and not method.after
        and not method.lenient
        and (method.matrix is None or not is_matrix(info.name, info.shape))
        and (
            method.sparsify in (keep_all, drop_at_random)
            or method.sparsify in RANKS
            or (method.sparsify is drop_by_rank and row_length(info.shape) <= _LONGEST_ROW)
        )
        and method.weigh in WEIGHTS
        and method.elect in ELECTIONS
        and method.combine in COMBINATIONS
        and method.post in (None, times_lambda)
        and (method.weigh is as_given if elects else method.combine is total)
    )
