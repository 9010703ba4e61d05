"""What may stand around a method's name: `knots(ties)` merges by TIES in the basis of KnOTS.

To add one: a basis in `bases`, one record in the table below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from evomerge.merge.bases import in_common_columns, in_core
from evomerge.merge.method import MergeMethod
from evomerge.merge.stages.kinds import Matrix


@dataclass(frozen=True, kw_only=True)
class Wrapper:
    """A basis in which an elementwise method merges matrices of layers.

    Args:
        name: what is written before the bracket.
        summary: one line for a human.
        reference: where it was published.
        matrix: gives the matrix stage of a method in the basis; what is no matrix of a layer is
            merged by the method itself.
    """

    name: str
    summary: str
    reference: str
    matrix: Callable[[MergeMethod], Matrix]


KNOTS = Wrapper(
    name="knots",
    summary="In a basis of the columns of all task vectors side by side.",
    reference="https://arxiv.org/abs/2410.19735",
    matrix=in_common_columns,
)

CORE = Wrapper(
    name="core",
    summary="In bases of the columns and the rows of all experts' low-rank factors.",
    reference="https://arxiv.org/abs/2509.17786",
    matrix=in_core,
)

WRAPPERS: dict[str, Wrapper] = {wrapper.name: wrapper for wrapper in (KNOTS, CORE)}
