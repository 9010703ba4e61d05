"""The merge methods: a table of records, each a choice of stages and its searchable parameters.

To add a method: a stage where none fits yet, one record in `catalogue`, one line here, one in its
tests. Where mergekit and the paper define a method differently, `name` is the paper's and
`name:mergekit` mergekit's; a recipe or an experiment file names either.

Every method obeys these laws, checked by one suite for the whole table: coefficients of zero give
the base bit for bit; a single coefficient of one, with every parameter where it takes nothing away,
gives that expert bit for bit; the order of the experts does not matter.
"""

from difflib import get_close_matches

from evomerge.errors import UsageError
from evomerge.merge.catalogue.averages import (
    LINEAR,
    METAGPT,
    MODEL_STOCK,
    MODEL_STOCK_ROWS,
    TASK_ARITHMETIC,
    VARM,
)
from evomerge.merge.catalogue.conflicts import (
    CONSENSUS,
    CONSENSUS_TIES,
    EMR,
    MAGMAX,
    PCB,
    RAM,
    RAM_PLUS,
    RAM_PLUS_MERGEKIT,
    SCE,
    SCE_MERGEKIT,
    WIDEN,
)
from evomerge.merge.catalogue.mergekit_options import MERGEKIT_OPTIONS
from evomerge.merge.catalogue.sparse import (
    ARCEE_FUSION,
    BREADCRUMBS,
    BREADCRUMBS_TIES,
    DARE_LINEAR,
    DARE_LINEAR_MERGEKIT,
    DARE_TIES,
    DARE_TIES_MERGEKIT,
    DELLA,
    DELLA_LINEAR,
    DELLA_LINEAR_MERGEKIT,
    DELLA_MERGEKIT,
    LOCALIZE_STITCH,
    NEARSWAP,
    TIES,
    TIES_MERGEKIT,
)
from evomerge.merge.catalogue.sphere import (
    KARCHER,
    KARCHER_MERGEKIT,
    MULTISLERP,
    MULTISLERP_MERGEKIT,
    NUSLERP,
    SLERP,
    SLERP_MERGEKIT,
)
from evomerge.merge.method import MergeMethod

__all__ = ["LINEAR", "METHODS", "TASK_ARITHMETIC", "MergeMethod", "find_method"]

METHODS: dict[str, MergeMethod] = {
    method.name: method
    for method in (
        LINEAR,
        TASK_ARITHMETIC,
        TIES,
        TIES_MERGEKIT,
        DARE_LINEAR,
        DARE_LINEAR_MERGEKIT,
        DARE_TIES,
        DARE_TIES_MERGEKIT,
        DELLA,
        DELLA_MERGEKIT,
        DELLA_LINEAR,
        DELLA_LINEAR_MERGEKIT,
        BREADCRUMBS,
        BREADCRUMBS_TIES,
        LOCALIZE_STITCH,
        VARM,
        METAGPT,
        SCE,
        SCE_MERGEKIT,
        CONSENSUS,
        CONSENSUS_TIES,
        EMR,
        MAGMAX,
        PCB,
        WIDEN,
        RAM,
        RAM_PLUS,
        RAM_PLUS_MERGEKIT,
        MODEL_STOCK,
        MODEL_STOCK_ROWS,
        NEARSWAP,
        ARCEE_FUSION,
        SLERP,
        SLERP_MERGEKIT,
        NUSLERP,
        MULTISLERP,
        MULTISLERP_MERGEKIT,
        KARCHER,
        KARCHER_MERGEKIT,
    )
}


def find_method(name: str) -> MergeMethod:
    """The method that a recipe or an experiment file names.

    Raises:
        UsageError: there is none of this name.
    """
    if name in METHODS:
        return METHODS[name]
    if name in MERGEKIT_OPTIONS:
        return MERGEKIT_OPTIONS[name]
    match = get_close_matches(name, METHODS, n=1)
    hint = f"; did you mean '{match[0]}'?" if match else ""
    raise UsageError(f"method '{name}' is not known, expected one of {', '.join(METHODS)}{hint}")
