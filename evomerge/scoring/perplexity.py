"""How well a model foretells a text: log-likelihoods of its stretches, token by token."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.records import TaskScores
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.sequences import logits_at, pad
from evomerge.scoring.text_benchmark import TextBenchmark

_ROWS = 64
"""Rows of logits that are made float64 at once."""


class PerplexityScorer:
    """Scores stretches of a text: Σ log p(token), with the number of tokens as its weight.

    The perplexity of the text is exp(− Σ values / Σ weights), `weighted_perplexity` of lm-eval.
    """

    def __init__(self, resident: ResidentModel, benchmark: TextBenchmark) -> None:
        self._resident, self._benchmark = resident, benchmark

    def score(self, items: Sequence[int]) -> dict[str, TaskScores]:
        """The log-likelihood of each item, in nats, summed in float64.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        benchmark = self._benchmark
        n_scored = [int(benchmark.n_scored[item]) for item in items]
        sequences = [benchmark.sequence(item) for item in items]
        values = np.zeros(len(items))
        inputs = [sequence[:-1] for sequence in sequences]
        for batch in pad(inputs, n_scored, self._resident):
            targets = np.concatenate([sequences[s][-n_scored[s] :] for s in batch.members])
            terms = _log_p(logits_at(self._resident, batch), targets)
            ends = np.cumsum([n_scored[s] for s in batch.members])
            values[list(batch.members)] = np.add.reduceat(terms, np.r_[0, ends[:-1]])
        weights = tuple(map(float, n_scored))
        return {benchmark.key: TaskScores(tuple(items), tuple(values.tolist()), weights)}


def _log_p(logits: Tensor, tokens: NDArray[np.int32]) -> NDArray[np.float64]:
    """log p of `tokens` `(n,)`, each after its row of `logits` `(n, n_vocab)`; in float64."""
    wanted = torch.from_numpy(tokens.astype(np.int64)).to(logits.device)
    log_p = np.empty(len(tokens))
    for start in range(0, len(tokens), _ROWS):
        part = slice(start, start + _ROWS)
        rows = logits[part].double()
        log_p[part] = (rows.gather(1, wanted[part, None])[:, 0] - rows.logsumexp(-1)).cpu()
    return log_p
