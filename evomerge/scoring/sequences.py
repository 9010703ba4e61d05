"""Forward passes over plain sequences of tokens, with logits only where they are wanted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.scoring.forward import BATCH_TOKENS, wanted_logits
from evomerge.scoring.resident import ResidentModel

MOST_LOGITS = 1 << 25
"""Logits held at once, an eighth of a GiB in float32; more only where one sequence wants more."""

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Padded:
    """Sequences of similar length, padded on the right, and the places whose logits are wanted.

    `tokens` is `(n_sequences, n_tokens)`; `rows` and `columns`, `(n_wanted,)`, go sequence by
    sequence in the order of `members`, the sequences' places in the list that they came from.
    """

    members: tuple[int, ...]
    tokens: Tensor
    rows: Tensor
    columns: Tensor


def pad(
    sequences: Sequence[Tokens], n_wanted: Sequence[int], resident: ResidentModel
) -> Iterator[Padded]:
    """Batches of the sequences, longest first; the logits of the last `n_wanted[s]` are wanted."""
    order = sorted(range(len(sequences)), key=lambda s: -len(sequences[s]))
    n_vocab = resident.head.get_parameter("weight").shape[0]
    while order:
        longest, most = len(sequences[order[0]]), max(n_wanted[s] for s in order)
        n = max(1, min(BATCH_TOKENS // longest, MOST_LOGITS // (n_vocab * most)))
        yield _pad(order[:n], sequences, n_wanted, resident.device)
        order = order[n:]


def logits_at(resident: ResidentModel, batch: Padded) -> Tensor:
    """The logits after each wanted token, `(n_wanted, n_vocab)`, float32 or wider.

    The output layer is applied to the wanted tokens alone.

    Raises:
        NonFiniteScore: some logit is NaN or infinite.
    """

    with torch.inference_mode():
        # Right padding needs no mask: a causal model does not look ahead.
        return wanted_logits(resident, batch.tokens, (batch.rows, batch.columns), {})


def _pad(
    members: Sequence[int],
    sequences: Sequence[Tokens],
    n_wanted: Sequence[int],
    device: torch.device,
) -> Padded:
    tokens = np.zeros((len(members), max(len(sequences[s]) for s in members)), dtype=np.int64)
    rows, columns = [], []
    for row, s in enumerate(members):
        n = len(sequences[s])
        tokens[row, :n] = sequences[s]
        rows.append(np.full(n_wanted[s], row))
        columns.append(np.arange(n - n_wanted[s], n))
    return Padded(
        members=tuple(members),
        tokens=torch.from_numpy(tokens).to(device),
        rows=torch.from_numpy(np.concatenate(rows)).to(device),
        columns=torch.from_numpy(np.concatenate(columns)).to(device),
    )
