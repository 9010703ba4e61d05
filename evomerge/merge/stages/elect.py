"""Elect: which experts take part at an entry."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.merge.stages.kinds import add


def everyone(votes: Sequence[Tensor]) -> list[Tensor]:
    """Every expert takes part everywhere, which takes no masks."""
    return []


def sign_of_sum(votes: Sequence[Tensor]) -> list[Tensor]:
    """At each entry the experts whose vote has the sign of the sum (TIES, eq. 3).

    Where the votes cancel exactly the sum has no sign, nobody is elected, and the base stays.

    Args:
        votes: `(span,)` λᵢ v̂ᵢ of each expert.

    Returns:
        `(span,)` mask of each expert, 1 where it takes part.
    """
    return _agreeing(votes, add(votes).sign_())


def sign_of_sum_or_plus(votes: Sequence[Tensor]) -> list[Tensor]:
    """As `sign_of_sum`, but where the votes cancel exactly the positive ones win (mergekit)."""
    return _agreeing(votes, add(votes).sign_().add_(0.5).sign_())


def with_slack(votes: Sequence[Tensor], elected: Sequence[Tensor], slack: float) -> list[Tensor]:
    """Elected are also those whose own vote outweighs the sum: |Σⱼ votesⱼ| < slack · |voteᵢ|.

    So a change that matters much to one expert is not lost to a narrow majority. 0 adds nobody, and
    every expert that changes an entry takes part as the slack grows. The definition is ours: the
    slack variable of TIES-SV is published as a name and a motive only.

    Args:
        votes: `(span,)` λᵢ v̂ᵢ of each expert.
        elected: `(span,)` mask of each expert.
        slack: not negative, dimensionless.
    """
    if slack == 0.0:
        return list(elected)
    size = add(votes).abs_()
    return [
        torch.maximum(mask, (vote.abs().mul_(slack) - size).sign_().clamp_min_(0.0))
        for vote, mask in zip(votes, elected, strict=True)
    ]


def changed(votes: Sequence[Tensor]) -> list[Tensor]:
    """At each entry the experts that change it."""
    return [vote.sign().abs_() for vote in votes]


def _agreeing(votes: Sequence[Tensor], sign: Tensor) -> list[Tensor]:
    return [(vote * sign).sign_().clamp_min_(0.0) for vote in votes]
