"""The merge methods: a table of records, each a choice of stages and its searchable parameters.

To add a method: a stage where none fits yet, one record in `catalogue`, one line here, one in its
tests. Where mergekit and the paper define a method differently, `name` is the paper's and
`name:mergekit` mergekit's; a recipe or an experiment file names either.

Every method obeys these laws, checked by one suite for the whole table: coefficients of zero give
the base bit for bit; a single coefficient of one, with every parameter where it takes nothing away,
gives that expert bit for bit; the order of the experts does not matter.
"""

from collections.abc import Collection
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
from evomerge.merge.catalogue.informed import FISHER, REGMEAN
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
from evomerge.merge.catalogue.spectral import (
    CART,
    ISO_C,
    ISO_CTS,
    OPCM,
    OPTMERGE,
    STAR,
    TSV,
    WUDI,
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
from evomerge.merge.compose import followed_by, wrapped_in
from evomerge.merge.method import MergeMethod
from evomerge.merge.posts import POSTS
from evomerge.merge.wrappers import WRAPPERS

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
        TSV,
        ISO_C,
        ISO_CTS,
        STAR,
        CART,
        WUDI,
        OPTMERGE,
        OPCM,
        REGMEAN,
        FISHER,
    )
}


def find_method(name: str) -> MergeMethod:
    """The method that a recipe or an experiment file names.

    A name is one of the table, maybe in the basis of one of `wrappers`, with any stages of `posts`
    behind it: `knots(ties)+lines+svc` merges in the basis of KnOTS, scales what TIES gives there by
    the layer, and calibrates the result.

    Raises:
        UsageError: there is none of this name, or its parts do not go together.
    """
    rest, plus, post = name.rpartition("+")
    if plus and ")" not in post:
        if post not in POSTS:
            raise UsageError(f"in method '{name}' the stage {_unknown(post, POSTS)}")
        return followed_by(find_method(rest), POSTS[post])
    wrapper, bracket, inner = name.removesuffix(")").partition("(")
    if bracket and name.endswith(")"):
        if wrapper not in WRAPPERS:
            raise UsageError(f"in method '{name}' the basis {_unknown(wrapper, WRAPPERS)}")
        return wrapped_in(WRAPPERS[wrapper], find_method(inner))
    found = METHODS.get(name) or MERGEKIT_OPTIONS.get(name)
    if found is None:
        raise UsageError(f"method {_unknown(name, METHODS)}")
    return found


def _unknown(name: str, table: Collection[str]) -> str:
    match = get_close_matches(name, table, n=1)
    hint = f"; did you mean '{match[0]}'?" if match else ""
    return f"'{name}' is not known, expected one of {', '.join(table)}{hint}"
