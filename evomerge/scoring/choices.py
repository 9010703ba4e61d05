"""Multiple-choice items decided in one packed pass: the context once, its choices side by side."""

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from lm_eval.filters.selection import TakeFirstFilter
from lm_eval.models.huggingface import HFLM
from numpy.typing import NDArray
from torch import Tensor

from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.forward import Batch, TokenTree, logits_of, make_batches, rounding
from evomerge.scoring.resident import NonFiniteScore, ResidentModel

_LENGTHS = {
    "acc": lambda choice: 1.0,
    "acc_norm": lambda choice: float(len(choice)),
    "acc_bytes": lambda choice: float(len(choice.encode())),
}
"""What a choice's log-likelihood is divided by before the largest is taken."""


@dataclass(frozen=True)
class Question:
    """An item as tokens: `sequences[c]` is the context, then the `n_scored[c]` tokens of choice c.

    `lengths[c]` is what the choice's log-likelihood is divided by.
    """

    sequences: tuple[tuple[int, ...], ...]
    n_scored: tuple[int, ...]
    lengths: tuple[float, ...]


@dataclass(frozen=True)
class Sums:
    """A batch, and which of its log-probabilities add up to which choice's log-likelihood.

    Term k is the log-probability of `tokens[k]` after the batch's wanted node `places[k]`, and part
    of choice `choices[k]`, counted through all questions.
    """

    batch: Batch
    places: Tensor
    tokens: Tensor
    choices: Tensor


class ChoiceScorer:
    """Decides multiple-choice items whose best choice is clear of rounding."""

    def __init__(self, resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> None:
        self._resident, self._lm, self._benchmark = resident, lm, benchmark
        self._question = lru_cache(maxsize=None)(self._compile)
        self._value = lru_cache(maxsize=None)(self._value_of_choosing)
        self._plan = lru_cache(maxsize=4)(self._make_plan)
        self._shares = self._can_share()

    @staticmethod
    def fits(benchmark: Benchmark) -> bool:
        """Whether the metric of this benchmark depends on the best choice alone."""
        return (
            benchmark.output_type == "multiple_choice"
            and benchmark.metric in _LENGTHS
            and benchmark.filter_steps == (TakeFirstFilter,)
            and "acc_mutual_info" not in benchmark.task._metric_fn_list
            and benchmark.task.config.repeats == 1
        )

    def decide(self, items: Sequence[int]) -> dict[int, float | None]:
        """The metric of each item; None where the two best choices are within rounding.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        questions = {item: question for item in items if (question := self._question(item))}
        values: dict[int, float | None] = dict.fromkeys(items)
        if questions:
            likelihoods = self._log_likelihoods(tuple(questions.values()), share=self._shares)
            for (item, question), own in zip(questions.items(), likelihoods, strict=True):
                values[item] = self._decide(item, question, own)
        return values

    def _decide(
        self, item: int, question: Question, likelihoods: NDArray[np.float64]
    ) -> float | None:
        scores = likelihoods / question.lengths
        best = int(scores.argmax())
        error = rounding(self._resident.dtype, float(np.abs(likelihoods).max()))
        if np.delete(scores, best).max(initial=-np.inf) > scores[best] - error / min(
            question.lengths
        ):
            return None
        return self._value(item, best)

    def _value_of_choosing(self, item: int, choice: int) -> float:
        """The metric when `choice` is the best, by the task's own rules."""
        n_choices = len(self._benchmark.requests[item])
        responses = [(0.0 if c == choice else -1.0, False) for c in range(n_choices)]
        return self._benchmark.value(item, responses)

    def _log_likelihoods(
        self, questions: tuple[Question, ...], *, share: bool
    ) -> list[NDArray[np.float64]]:
        """Σ log p(token) of every choice of every question."""
        ends = np.cumsum([len(question.sequences) for question in questions])
        totals = torch.zeros(int(ends[-1]), dtype=torch.float64, device=self._resident.device)
        for sums in self._plan(questions, share):
            log_p = logits_of(self._resident, sums.batch).log_softmax(-1)
            terms = log_p[sums.places, sums.tokens]
            totals.index_add_(0, sums.choices, terms.double())
        return np.split(totals.cpu().numpy(), ends[:-1])

    def _make_plan(self, questions: tuple[Question, ...], share: bool) -> list[Sums]:
        groups = _group(questions, share)
        trees = [TokenTree.of([sequence[:-1] for _, sequence, _ in group]) for group in groups]
        terms = [_terms(tree, group) for tree, group in zip(trees, groups, strict=True)]
        wanted = [sorted({node for node, _, _ in own}) for own in terms]
        batches = make_batches(trees, wanted, self._resident.device)
        return [_sums(batch, terms, wanted, self._resident.device) for batch in batches]

    def _can_share(self) -> bool:
        """Whether this model takes a mask of our own, seen on the longest of a few questions."""
        if "position_ids" not in inspect.signature(self._resident.model.forward).parameters:
            return False
        items = range(min(64, self._benchmark.n_items))
        questions = [question for item in items if (question := self._question(item))]
        if not questions:
            return False
        longest = (max(questions, key=lambda question: max(map(len, question.sequences))),)
        try:
            with torch.inference_mode():
                (packed,) = self._log_likelihoods(longest, share=True)
                (plain,) = self._log_likelihoods(longest, share=False)
        except (NonFiniteScore, RuntimeError, TypeError, ValueError):
            return False
        error = rounding(self._resident.dtype, float(np.abs(plain).max()))
        return bool(np.abs(packed - plain).max() < error)

    def _compile(self, item: int) -> Question | None:
        """The item's tokens; None for what lm-eval treats in a way of its own."""
        requests = self._benchmark.requests[item]
        choices = self._benchmark.task.doc_to_choice(self._benchmark.documents[item])
        lengths = tuple(_LENGTHS[self._benchmark.metric](choice) for choice in choices)
        if not all(lengths) or not all(request.args[0] for request in requests):
            return None
        pairs = [self._lm._encode_pair(*request.args) for request in requests]
        sequences = tuple((*context, *choice) for context, choice in pairs)
        n_scored = tuple(len(choice) for _, choice in pairs)
        too_long = max(map(len, sequences)) > self._lm.max_length
        if too_long or not all(context and choice for context, choice in pairs):
            return None
        return Question(sequences, n_scored, lengths)


Choice = tuple[int, tuple[int, ...], int]
"""A choice's number through all questions, its sequence, and how many last tokens are scored."""
Term = tuple[int, int, int]
"""A node, the token after it, and the number of the choice whose log-likelihood it is part of."""


def _group(questions: Sequence[Question], share: bool) -> list[list[Choice]]:
    """The choices that are to be packed into one tree: of a question, or each alone."""
    numbers = itertools.count()
    groups = [
        [
            (next(numbers), sequence, n_scored)
            for sequence, n_scored in zip(question.sequences, question.n_scored, strict=True)
        ]
        for question in questions
    ]
    return groups if share else [[choice] for group in groups for choice in group]


def _terms(tree: TokenTree, group: Sequence[Choice]) -> list[Term]:
    terms = []
    for path, (number, sequence, n_scored) in zip(tree.paths, group, strict=True):
        scored = zip(path[-n_scored:], sequence[-n_scored:], strict=True)
        terms += [(node, token, number) for node, token in scored]
    return terms


def _sums(
    batch: Batch,
    terms: Sequence[Sequence[Term]],
    wanted: Sequence[Sequence[int]],
    device: torch.device,
) -> Sums:
    pairs = ((tree, node) for tree in batch.members for node in wanted[tree])
    place_of = {pair: place for place, pair in enumerate(pairs)}
    rows = [
        (place_of[tree, node], token, choice)
        for tree in batch.members
        for node, token, choice in terms[tree]
    ]
    places, tokens, choices = torch.tensor(rows, device=device).T
    return Sums(batch, places, tokens, choices)
