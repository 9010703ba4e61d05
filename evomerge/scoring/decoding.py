"""Greedy decoding in batches: left-padded, rows leave when they end, shared prefixes once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers.cache_utils import Cache

from evomerge.scoring.forward import (
    new_cache,
    read_header,
    repeated,
    rounding,
    shared_header,
    wanted_logits,
)
from evomerge.scoring.limits import Limits, StopWatch
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import Tokens

CACHED_TOKENS = 8192
"""Tokens whose keys and values a batch may keep, also where that is more rows than asked for."""


@dataclass
class _Row:
    """An answer that is being said: its place among the prompts, and its tokens so far."""

    place: int
    said: list[int]


class Decoder:
    """Continues prompts by what has the largest logit, as long as that is beyond rounding."""

    def __init__(self, resident: ResidentModel, lm: HFLM, limits: Limits, batch_size: int) -> None:
        self._resident, self._limits, self._batch_size = resident, limits, batch_size
        self._watch = StopWatch(lm, limits)

    def decode(
        self, prompts: Sequence[Tokens], begun: Sequence[Sequence[int]]
    ) -> list[tuple[int, ...] | None]:
        """The whole answer to each prompt, of which the first tokens are known (`begun`).

        None where a token is within rounding of another, or where what lm-eval would do depends
        on the other rows of its batch.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        # Padding in the middle of a row would shift the windows of sliding attention.
        slides = any(getattr(own, "is_sliding", True) for own in new_cache(self._resident).layers)
        header = np.empty(0, np.int32) if slides else shared_header(prompts)
        cache = read_header(self._resident, header) if len(header) else None
        rests = [
            np.concatenate([own[len(header) :], np.asarray(first, np.int32)])
            for own, first in zip(prompts, begun, strict=True)
        ]
        found: list[tuple[int, ...] | None] = [None] * len(prompts)
        order = sorted(range(len(rests)), key=lambda i: -len(rests[i]))
        while order:
            longest = len(header) + len(rests[order[0]]) + self._limits.max_tokens
            n = max(self._batch_size, CACHED_TOKENS // longest)
            places, order = order[:n], order[n:]
            rows = [_Row(place, list(begun[place])) for place in places]
            for row in self._decode(rows, [rests[place] for place in places], cache):
                found[row.place] = tuple(row.said)
        return found

    def _decode(
        self, rows: list[_Row], rests: Sequence[Tokens], header: Cache | None
    ) -> list[_Row]:
        """The rows that ended, of those that begin with the header and go on with `rests`."""
        device = self._resident.device
        n_before = 0 if header is None else header.get_seq_length()
        tokens, mask = _pad_left(rests, n_before, device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, n_before:]
        none = torch.zeros(len(rows), dtype=torch.int64, device=device)
        cache = new_cache(self._resident) if header is None else repeated(header, none)
        ended: list[_Row] = []
        while rows:
            best, margins = self._step(tokens, mask, positions, cache)
            on = [self._goes_on(*own, ended) for own in zip(rows, best, margins, strict=True)]
            if not all(on):
                kept = torch.tensor([i for i, own in enumerate(on) if own], device=device)
                rows = [row for row, own in zip(rows, on, strict=True) if own]
                if not rows:
                    break
                cache.batch_select_indices(kept)
                mask, positions = mask[kept], positions[kept]
            tokens = torch.tensor([[row.said[-1]] for row in rows], device=device)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return ended

    def _step(
        self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Cache
    ) -> tuple[list[int], list[float]]:
        """The token with the largest logit after each row, and how far it is from the second."""
        inputs = {
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": True,
        }
        each = torch.arange(len(tokens), device=tokens.device)
        last = torch.full_like(each, tokens.shape[1] - 1)
        top = wanted_logits(self._resident, tokens, (each, last), inputs).topk(2)
        margins = top.values[:, 0] - top.values[:, 1]
        return top.indices[:, 0].tolist(), margins.tolist()

    def _goes_on(self, row: _Row, token: int, margin: float, ended: list[_Row]) -> bool:
        """Whether the row needs another token; where it has ended, it is put to the others."""
        if margin < rounding(self._resident.dtype):
            return False
        limits = self._limits
        if token in limits.special and token not in limits.end_tokens:
            return False
        row.said.append(token)
        if (
            token in limits.end_tokens
            or len(row.said) == limits.max_tokens
            or self._watch.has_stopped(row.said)
        ):
            ended.append(row)
            return False
        return True


def _pad_left(rows: Sequence[Tokens], n_before: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens `(n_rows, n_tokens)`, and the mask `(n_rows, n_before + n_tokens)` of what counts."""
    n_tokens = max(map(len, rows))
    tokens = np.zeros((len(rows), n_tokens), np.int64)
    mask = np.ones((len(rows), n_before + n_tokens), np.int64)
    for i, row in enumerate(rows):
        tokens[i, n_tokens - len(row) :] = row
        mask[i, n_before : n_before + n_tokens - len(row)] = 0
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)
