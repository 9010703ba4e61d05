"""What mergekit's options `normalize` and `rescale` make of its methods.

They are rows like all others, with names that say the option, such as `ties:mergekit normalize:
false`; no listing shows them and no search chooses them, since they are there to run mergekit's
files.
"""

from dataclasses import replace
from itertools import product

from evomerge.merge.catalogue.averages import LINEAR
from evomerge.merge.catalogue.sparse import (
    BREADCRUMBS,
    BREADCRUMBS_TIES,
    DARE_LINEAR_MERGEKIT,
    DARE_TIES_MERGEKIT,
    DELLA_LINEAR_MERGEKIT,
    DELLA_MERGEKIT,
    TIES_MERGEKIT,
)
from evomerge.merge.method import MergeMethod
from evomerge.merge.stages.combine import ratio_of_elected, total
from evomerge.merge.stages.elect import everyone, sign_of_sum_or_plus
from evomerge.merge.stages.kinds import Sparsify
from evomerge.merge.stages.post import times_lambda
from evomerge.merge.stages.sparsify import (
    drop_by_rank_within_epsilon,
    drop_without_rescaling,
    keep_band,
    keep_largest_rounded_down,
    matching_l1,
)
from evomerge.merge.stages.weigh import as_given

LINEAR_UNNORMALISED = replace(
    LINEAR,
    name="linear normalize: false",
    summary="Weighted sum of the experts' weights, not divided by the sum of the weights.",
    weigh=as_given,
    only_ratios=False,
)

_SPARSIFY: dict[str, Sparsify] = {
    "ties": keep_largest_rounded_down,
    "dare_linear": drop_without_rescaling,
    "dare_ties": drop_without_rescaling,
    "della": drop_by_rank_within_epsilon,
    "della_linear": drop_by_rank_within_epsilon,
    "breadcrumbs": keep_band,
    "breadcrumbs_ties": keep_band,
}
_ROWS = {
    row.name.removesuffix(":mergekit"): row
    for row in (
        TIES_MERGEKIT,
        DARE_LINEAR_MERGEKIT,
        DARE_TIES_MERGEKIT,
        DELLA_MERGEKIT,
        DELLA_LINEAR_MERGEKIT,
        BREADCRUMBS,
        BREADCRUMBS_TIES,
    )
}
_SCALE = TIES_MERGEKIT.parameters[-1]


def option_name(method: str, *, normalize: bool, rescale: bool) -> str:
    """The name of mergekit's `method` with these options."""
    return f"{method} normalize: {str(normalize).lower()}, rescale: {str(rescale).lower()}"


def _row(method: str, normalize: bool, rescale: bool) -> MergeMethod:
    row = _ROWS[method]
    sparsify = matching_l1(_SPARSIFY[method]) if rescale else _SPARSIFY[method]
    elects = row.elect is not everyone
    return replace(
        row,
        name=option_name(method, normalize=normalize, rescale=rescale),
        summary=f"{row.summary} With mergekit's options as in the name.",
        parameters=(*(p for p in row.parameters if p != _SCALE), _SCALE),
        sparsify=sparsify,
        elect=sign_of_sum_or_plus if elects else everyone,
        combine=ratio_of_elected if normalize else total,
        post=times_lambda,
    )


MERGEKIT_OPTIONS: dict[str, MergeMethod] = {
    row.name: row
    for row in (
        LINEAR_UNNORMALISED,
        *(_row(*choice) for choice in product(_ROWS, (False, True), (False, True))),
    )
}
