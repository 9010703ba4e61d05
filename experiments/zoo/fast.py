"""Score a model in memory: as lm-eval does, but teacher-forced and in one pass.

Greedy decoding gives exactly the target if and only if every target token and the end token
are the arg max behind the tokens before them, so no generation is needed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BATCH_SIZE = 128


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts with their continuations, right-padded.

    Attributes:
        ids: `(n_rows, n_tokens)`.
        scored: `(n_rows, n_tokens)`, true where a token belongs to a continuation.
        index: `(n_rows,)` position of each row among all rows of the task.
    """

    ids: Tensor
    scored: Tensor
    index: Tensor


class TaskScorer:
    """Right or wrong on every item of one task, for any model with the same tokenizer."""

    def __init__(
        self, path: Path, tokenizer: PreTrainedTokenizerFast, *, n_items: int | None = None
    ) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()[:n_items]
        self.documents = [json.loads(line) for line in lines]
        self.labels = torch.tensor([document.get("label", -1) for document in self.documents])
        self.chooses = "choices" in self.documents[0]
        pairs = [pair for document in self.documents for pair in self._pairs(document, tokenizer)]
        self.n_rows = len(pairs)
        self.batches = _batches(pairs)

    def _pairs(
        self, document: dict[str, list[str] | str], tokenizer: PreTrainedTokenizerFast
    ) -> list[tuple[list[int], list[int]]]:
        prompt = tokenizer(document["prompt"]).input_ids
        if self.chooses:
            return [(prompt, tokenizer(" " + choice).input_ids) for choice in document["choices"]]
        target = tokenizer(f" {document['target']}").input_ids
        return [(prompt, [*target, tokenizer.eos_token_id])]

    @torch.inference_mode()
    def score(self, model: LlamaForCausalLM) -> np.ndarray:
        """Return `(n_items,)` booleans: the right choice, or the exact answer."""
        results = torch.empty(self.n_rows)
        for rows in self.batches:
            results[rows.index] = self._score_rows(model, rows)
        if self.chooses:
            likeliest = results.view(len(self.labels), -1).argmax(1)
            return (likeliest == self.labels).numpy()
        return (results > 0.5).numpy()

    def _score_rows(self, model: LlamaForCausalLM, rows: Rows) -> Tensor:
        logits = model(input_ids=rows.ids, use_cache=False).logits[:, :-1]
        following, scored = rows.ids[:, 1:], rows.scored[:, 1:]
        if not self.chooses:
            right: Tensor = (logits.argmax(-1) == following) | ~scored
            return right.all(1).float()
        logprobs: Tensor = logits.log_softmax(-1).gather(2, following[..., None])[..., 0]
        return (logprobs * scored).sum(1)


def _batches(pairs: Sequence[tuple[list[int], list[int]]]) -> list[Rows]:
    """Group rows of alike length."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    chunks = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
    return [_pad([pairs[i] for i in chunk], chunk) for chunk in chunks]


def _pad(pairs: Sequence[tuple[list[int], list[int]]], index: list[int]) -> Rows:
    n_tokens = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), n_tokens, dtype=torch.long)
    scored = torch.zeros(len(pairs), n_tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        scored[row, len(prompt) : end] = True
    return Rows(ids, scored, torch.tensor(index))
