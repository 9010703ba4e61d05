"""Answers told in advance: one teacher-forced pass over the right answer.

Greedy decoding says the right answer if and only if every token of it, and then the end, has the
largest logit after what comes before. So a pass over prompt and right answer shows the first
tokens that greedy decoding produces, up to and including the first that differs. Mostly that
settles what lm-eval's filters and metric say of the text: they are asked where the text is
complete, and where it can no longer become the right answer an exact match fails. What is left
open is to be generated, from where it was left.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from lm_eval.filters.extraction import WhitespaceFilter
from lm_eval.filters.selection import TakeFirstFilter
from torch import Tensor
from transformers.cache_utils import Cache

from evomerge.scoring.answers import judges_by_own_code
from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.forward import (
    REFUSALS,
    Batch,
    TokenTree,
    logits_of,
    make_batches,
    read_header,
    rounding,
    shared_header,
)
from evomerge.scoring.limits import Limits, until_end
from evomerge.scoring.metrics import Metric
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.tokens import TokenisedItems, Tokens

_STRIPPED = (WhitespaceFilter, TakeFirstFilter)
_PLAIN = (TakeFirstFilter,)
_UNSURE, _END = -1, -2  # beside tokens: one within rounding of another, and none after the last


@dataclass(frozen=True)
class Foretold:
    """How an answer begins, empty where that is within rounding; and the right one's likelihood.

    `log_likelihood` is the mean log p of the right answer's tokens; None where it has none.
    """

    said: tuple[int, ...]
    log_likelihood: float | None


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch, the items it is of, and the tokens that come after its wanted nodes."""

    batch: Batch
    items: tuple[int, ...]
    n_wanted: tuple[int, ...]
    after: Tensor


class AnswerPass:
    """Passes over prompts and right answers with the weights of the moment."""

    def __init__(self, resident: ResidentModel, items: TokenisedItems, limits: Limits) -> None:
        self._resident, self._items, self._limits = resident, items, limits
        self._plan = lru_cache(maxsize=4)(self._make_plan)

    def run(self, items: Sequence[int], *, likelihood: bool = False) -> dict[int, Foretold]:
        """How each item's answer begins, and where wanted how likely the right one is.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        found: dict[int, Foretold] = {}
        with torch.inference_mode():
            header = self._read_header() if self._takes_header else None
            for part in self._plan(tuple(items), header is not None):
                logits = logits_of(self._resident, part.batch, header)
                means = _means(part, logits) if likelihood else itertools.repeat(None)
                said = self._said(part, logits)
                found.update(zip(part.items, map(Foretold, said, means), strict=False))
        return found

    def _said(self, part: _Part, logits: Tensor) -> Iterator[tuple[int, ...]]:
        """What greedy decoding says, up to the first token that is not the right answer's."""
        top = logits.topk(2)
        sure = top.values[:, 0] - top.values[:, 1] >= rounding(self._resident.dtype)
        best = top.indices[:, 0]
        differs = (best != part.after).cpu().numpy()
        tokens = torch.where(sure, best, _UNSURE).tolist()
        start = 0
        for n in part.n_wanted:
            n_said = 1 + int(differs[start : start + n].argmax())
            said = tokens[start : start + min(n_said, self._limits.max_tokens)]
            yield () if _UNSURE in said else until_end(said, self._limits)
            start += n

    def _make_plan(self, items: tuple[int, ...], with_header: bool) -> list[_Part]:
        n_before = len(self._header) if with_header else 0
        trees, wanted, after = [], [], []
        for item in items:
            ((prompt, answer),) = self._items.pairs(item)
            tree = TokenTree.of([np.concatenate([prompt[n_before:], answer])])
            trees.append(tree)
            wanted.append(np.arange(len(tree.tokens) - len(answer) - 1, len(tree.tokens)))
            after.append(np.append(answer, _END).astype(np.int64))
        return [
            _Part(
                batch,
                tuple(items[t] for t in batch.members),
                tuple(len(wanted[t]) for t in batch.members),
                torch.from_numpy(np.concatenate([after[t] for t in batch.members])).to(
                    batch.device
                ),
            )
            for batch in make_batches(trees, wanted, self._resident.device)
        ]

    @cached_property
    def _header(self) -> Tokens:
        return shared_header([self._items.pairs(i)[0][0] for i in range(self._items.n_items)])

    def _read_header(self) -> Cache:
        return read_header(self._resident, self._header)

    @cached_property
    def _takes_header(self) -> bool:
        """Whether this model goes on from a cached header; seen on the longest item."""
        if not len(self._header):
            return False
        lengths = [sum(map(len, self._items.pairs(i)[0])) for i in range(self._items.n_items)]
        items = (int(np.argmax(lengths)),)
        with torch.inference_mode():
            expected = self._logits(items, None)
            try:
                found = self._logits(items, self._read_header())
            except REFUSALS:
                return False
        error = rounding(self._resident.dtype, float(expected.abs().max()))
        return bool((found - expected).abs().max() < error)

    def _logits(self, items: tuple[int, ...], header: Cache | None) -> Tensor:
        (part,) = self._plan(items, header is not None)
        return logits_of(self._resident, part.batch, header)


def _means(part: _Part, logits: Tensor) -> Iterator[float | None]:
    """The mean log p of each right answer's tokens; None where it has none."""
    chosen = logits.gather(1, part.after.clamp(min=0)[:, None])[:, 0]
    terms = (chosen - logits.logsumexp(-1)).double().cpu().numpy()
    start = 0
    for n in part.n_wanted:
        yield float(terms[start : start + n - 1].mean()) if n > 1 else None
        start += n


class Judge:
    """Tells exact matches of texts of which only the beginning is known."""

    def __init__(self, benchmark: Benchmark, limits: Limits) -> None:
        self._metrics = [metric for metric in benchmark.metrics if metric.name != "log_likelihood"]
        self._benchmark, self._limits = benchmark, limits
        self.needs_text = not all(_is_match(benchmark, metric) for metric in self._metrics)

    def fails(self, text: str, target: str) -> bool:
        """Whether no text that begins like this is an exact match, whatever the filter."""
        stripped = {
            self._benchmark.steps_of(metric.filter) == _STRIPPED for metric in self._metrics
        }
        return not any(_may_become(text, target, self._limits.stops, own) for own in stripped)


def _is_match(benchmark: Benchmark, metric: Metric) -> bool:
    """Whether the metric is an exact match of the text, no frills."""
    task = benchmark.task
    return (
        metric.name == "exact_match"
        and not metric.is_ours
        and not judges_by_own_code(benchmark)
        and not task._metric_fn_kwargs["exact_match"]
        and not task.multiple_target
        and task.config.doc_to_choice is None
        and benchmark.steps_of(metric.filter) in (_PLAIN, _STRIPPED)
    )


def _may_become(text: str, target: str, stops: Sequence[str], stripped: bool) -> bool:
    """Whether more text could still make this beginning an exact match, once it is cut at a stop.

    Generous where it is not sure: the end of the text may be half a character, which the
    tokenizer shows as U+FFFD.
    """
    text = text.rstrip("\0\ufffd")
    n_spaces = len(text) - len(text.lstrip()) if stripped else 0
    beginnings = (text[i:] for i in range(n_spaces + 1))
    return any(_leads_to(beginning, target, stops, stripped) for beginning in beginnings)


def _leads_to(text: str, target: str, stops: Sequence[str], stripped: bool) -> bool:
    """Whether the target, spaces to strip, and a stop string can begin with this text."""
    if target.startswith(text):
        return True
    if not text.startswith(target):
        return False
    rest = text[len(target) :]
    n_spaces = len(rest) - len(rest.lstrip()) if stripped else 0
    return any(stop.startswith(rest[i:]) for stop in (*stops, "") for i in range(n_spaces + 1))
