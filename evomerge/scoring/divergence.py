"""How far a model's expectations are from those of a reference: KL divergence after prompts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from evomerge.errors import ScoringError
from evomerge.records import TaskScores
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.sequences import logits_at, pad
from evomerge.scoring.text_benchmark import TextBenchmark


class DivergenceScorer:
    """Scores prompts: KL(p_reference ‖ p_model) of the next token, in nats.

    The reference is whatever model was resident when its logits were learned.
    """

    def __init__(self, resident: ResidentModel, benchmark: TextBenchmark) -> None:
        self._resident, self._benchmark = resident, benchmark
        self._reference: dict[int, Tensor] = {}

    @property
    def reference(self) -> Mapping[int, Tensor]:
        """The reference's logits after each prompt that is known, `(n_vocab,)`, by item."""
        return self._reference

    def missing(self, items: Sequence[int]) -> tuple[int, ...]:
        """Those of the items after which the reference's logits are not known."""
        return tuple(sorted(set(items) - self._reference.keys()))

    def take(self, reference: Mapping[int, Tensor]) -> None:
        """Know logits of the reference that were computed elsewhere."""
        self._reference |= reference

    def learn(self, items: Sequence[int]) -> None:
        """Know the logits of the resident model as the reference's.

        Each prompt is a batch of its own, so that its logits are the same to the last bit
        whichever others are learned with it.

        Raises:
            NonFiniteScore: they are NaN or infinite.
        """
        self._reference |= {item: self._logits([item])[0].cpu() for item in items}

    def score(self, items: Sequence[int]) -> dict[str, TaskScores]:
        """The divergence from the reference after each prompt, computed in float64.

        Raises:
            KeyError: the reference's logits after an item are not known.
            ScoringError: the reference has another number of tokens.
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        pairs = zip(items, self._logits(items), strict=True)
        values = [divergence(self._reference[item].to(own.device), own) for item, own in pairs]
        return {self._benchmark.key: TaskScores(tuple(items), tuple(values))}

    def _logits(self, items: Sequence[int]) -> Tensor:
        """The resident model's logits of the next token, `(n_items, n_vocab)`."""
        prompts = [self._benchmark.sequence(item) for item in items]
        found: list[Tensor] = [torch.empty(0)] * len(items)
        for batch in pad(prompts, [1] * len(items), self._resident):
            for s, logits in zip(batch.members, logits_at(self._resident, batch), strict=True):
                found[s] = logits
        return torch.stack(found)


def divergence(reference: Tensor, own: Tensor) -> float:
    """KL(p ‖ q) = Σ p (log p − log q) in nats, of the softmax of two rows of logits.

    Logits rather than log-probabilities are kept of the reference: they are float32 by themselves,
    where rounded log-probabilities would put a model at 1e-8 from itself.
    """
    if reference.shape != own.shape:
        raise ScoringError(
            f"the model has {len(own)} tokens to expect, and its reference {len(reference)}: there "
            "is no divergence between them; compare models of one vocabulary"
        )
    log_p, log_q = reference.double().log_softmax(-1), own.double().log_softmax(-1)
    # Not below zero but by rounding.
    return max(0.0, float((log_p.exp() * (log_p - log_q)).sum()))
