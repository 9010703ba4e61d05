"""The elementwise stages of a method, run over the vectors of a tensor chunk by chunk."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from evomerge.merge.method import MergeMethod
from evomerge.merge.stages.elect import everyone, with_slack
from evomerge.merge.stages.kinds import Factor, Moves, Stack


def merged_elementwise(
    method: MergeMethod, stack: Stack, spans: Sequence[slice]
) -> Iterator[tuple[slice, Tensor]]:
    """The stages of a method from sparsify to post, span by span.

    Args:
        method: whose stages are run; where it merges matrices as a whole, those for the rest.
        stack: the vectors with their part of the recipe.
        spans: consecutive spans that cover the tensor.

    Yields:
        a span and the merged vector Δ on it, `(span,)` float32, the caller's to change.
    """
    kept = [method.sparsify(*pair) for pair in zip(stack.vectors, stack.settings, strict=True)]
    factors_on = method.weigh(stack)
    finish = method.post(stack) if method.post else None
    for span in spans:
        chunks = [keep(span) for keep in kept]
        factors = factors_on(span)
        values = _scaled(chunks, factors)
        elected: list[Tensor] = []
        if method.elect is not everyone:
            # Experts vote with their coefficients, whatever else weighs them.
            is_given = factors is stack.coefficients
            votes = values if is_given else _scaled(chunks, stack.coefficients)
            elected = method.elect(votes)
            if method.lenient:
                elected = with_slack(votes, elected, stack.setting("slack.share"))
        delta = method.combine(Moves(values, factors, stack.coefficients, elected))
        yield span, finish(span, delta) if finish else delta


def _scaled(chunks: Sequence[Tensor], factors: Sequence[Factor]) -> list[Tensor]:
    return [chunk * factor for chunk, factor in zip(chunks, factors, strict=True)]
