"""Generated items decided without generating: one teacher-forced pass over the right answer.

Greedy decoding says the right answer if and only if every token of it, and then the end, has the
largest logit after what comes before. So a pass over prompt and right answer shows the first
tokens that greedy decoding produces, up to and including the first that differs. Mostly that
settles what lm-eval's filters and metric say of the text: they are asked where the text is
complete, and where it can no longer become the right answer the match fails. What is left open,
and what is within rounding, is None: to be generated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from lm_eval.filters.extraction import WhitespaceFilter
from lm_eval.filters.selection import TakeFirstFilter
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from tokenizers import decoders

from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.forward import Batch, TokenTree, logits_of, make_batches, n_shared, rounding
from evomerge.scoring.resident import ResidentModel

_STRIPPED = (WhitespaceFilter, TakeFirstFilter)
_PLAIN = (TakeFirstFilter,)
_GREEDY_OPTIONS = {"do_sample", "temperature", "until", "max_gen_toks"}
_HARMLESS_GENERATION_CONFIG = {
    "bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_k", "top_p",
    "min_p", "typical_p", "max_length", "use_cache", "output_attentions", "output_hidden_states",
    "transformers_version", "_from_model_config",
}  # fmt: skip
"""Settings of a generation config that do not change greedy decoding."""


@dataclass(frozen=True)
class Draft:
    """An item as tokens: the prompt, and the right answer as the tokenizer would write it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    target: str


@dataclass(frozen=True)
class Limits:
    """When generation ends: at an end token, a stop string, or a number of tokens."""

    end_tokens: frozenset[int]
    stops: tuple[str, ...]
    max_tokens: int


class GreedyScorer:
    """Decides exact matches under greedy decoding that are clear of rounding."""

    def __init__(self, resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> None:
        self._resident, self._lm, self._benchmark = resident, lm, benchmark
        self._limits = _limits(resident, lm, benchmark)
        self._special = frozenset(resident.tokenizer.all_special_ids)
        self._draft = lru_cache(maxsize=None)(self._compile)
        self._value = lru_cache(maxsize=100_000)(self._judge)
        self._plan = lru_cache(maxsize=4)(self._make_plan)

    @staticmethod
    def fits(resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> bool:
        """Whether this benchmark asks for an exact match of greedily decoded text, no frills."""
        if benchmark.output_type != "generate_until" or benchmark.metric != "exact_match":
            return False
        task = benchmark.task
        options = normalize_gen_kwargs(task.config.generation_kwargs, lm.max_gen_toks)
        return (
            not task._metric_fn_kwargs["exact_match"]
            and not task.multiple_target
            and task.config.doc_to_choice is None
            and task.config.repeats == 1
            and benchmark.filter_steps in (_PLAIN, _STRIPPED)
            and not options["do_sample"]
            and options.keys() <= _GREEDY_OPTIONS
            and _decodes_in_order(resident)
            and resident.model.generation_config.to_diff_dict().keys()
            <= _HARMLESS_GENERATION_CONFIG
        )

    def decide(self, items: Sequence[int]) -> dict[int, float | None]:
        """The metric of each item; None where generating is the only way to know.

        Raises:
            NonFiniteScore: the model's logits are NaN or infinite.
        """
        drafts = {item: draft for item in items if (draft := self._draft(item))}
        values: dict[int, float | None] = dict.fromkeys(items)
        said = self._first_tokens(tuple(drafts.values()))
        for (item, draft), tokens in zip(drafts.items(), said, strict=True):
            values[item] = self._value(item, draft, tokens) if tokens else None
        return values

    def _first_tokens(self, drafts: tuple[Draft, ...]) -> list[tuple[int, ...]]:
        """What greedy decoding says, up to the first token that is not the draft's.

        Empty where a token on the way is within rounding of another.
        """
        said: list[tuple[int, ...]] = [()] * len(drafts)
        for batch in self._plan(drafts):
            top = logits_of(self._resident, batch).topk(2)
            margins = top.values[:, 0] - top.values[:, 1]
            error = rounding(self._resident.dtype)
            tokens = torch.where(margins < error, -1, top.indices[:, 0]).tolist()
            start = 0
            for member in batch.members:
                n_wanted = self._n_wanted(drafts[member])
                said[member] = _follow(drafts[member].answer, tokens[start : start + n_wanted])
                start += n_wanted
        return said

    def _n_wanted(self, draft: Draft) -> int:
        return min(len(draft.answer) + 1, self._limits.max_tokens)

    def _make_plan(self, drafts: tuple[Draft, ...]) -> list[Batch]:
        trees, wanted = [], []
        for draft in drafts:
            n_wanted = self._n_wanted(draft)
            tokens = (*draft.prompt, *draft.answer[: n_wanted - 1])
            trees.append(TokenTree.of([tokens]))
            wanted.append(range(len(tokens) - n_wanted, len(tokens)))
        return make_batches(trees, wanted, self._resident.device)

    def _judge(self, item: int, draft: Draft, said: tuple[int, ...]) -> float | None:
        """The metric of an answer that begins with these tokens, if they settle it."""
        limits = self._limits
        ended = said[-1] in limits.end_tokens
        if not ended and self._special & set(said):
            return None  # not shown in the text, and lm-eval may or may not go on after it
        text = self._lm.tok_decode(list(said))
        complete = ended or len(said) == limits.max_tokens
        if complete or any(stop in text for stop in limits.stops):
            answer = postprocess_generated_text(text, list(limits.stops), None)
            return self._benchmark.value(item, [answer])
        stripped = self._benchmark.filter_steps == _STRIPPED
        return None if _may_become(text, draft.target, limits.stops, stripped) else 0.0

    def _compile(self, item: int) -> Draft | None:
        """The item's tokens; None for what lm-eval treats in a way of its own."""
        (request,) = self._benchmark.requests[item]
        task, document = self._benchmark.task, self._benchmark.documents[item]
        target = task.doc_to_target(document)
        if isinstance(target, list) or not request.args[0]:
            return None
        target = str(target)
        stripped = self._benchmark.filter_steps == _STRIPPED
        answer = task.config.target_delimiter + target if stripped else target
        prompt = self._tokens(request.args[0])
        whole = self._tokens(request.args[0] + answer)
        # The prompt's last token may swallow the answer's beginning; lm-eval encodes it alone.
        said = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._alone(answer)
        if not prompt or len(prompt) > self._lm.max_length - self._limits.max_tokens:
            return None
        return Draft(prompt, said[: self._limits.max_tokens], target)

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._lm.tok_batch_encode([text])[0][0].tolist())

    def _alone(self, text: str) -> tuple[int, ...]:
        return tuple(self._resident.tokenizer.encode(text, add_special_tokens=False))


def _limits(resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> Limits:
    options = normalize_gen_kwargs(benchmark.task.config.generation_kwargs, lm.max_gen_toks)
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    stops = handle_stop_sequences(list(options["until"]), eos=eos)
    ends = resident.model.generation_config.eos_token_id
    end_tokens = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return Limits(
        end_tokens=frozenset(end_tokens),
        stops=tuple(stop for stop in stops if stop),
        max_tokens=options["max_gen_toks"],
    )


def _follow(answer: Sequence[int], tokens: Sequence[int]) -> tuple[int, ...]:
    """The tokens up to and including the first that is not the answer's; empty at a -1."""
    said = tuple(tokens[: n_shared(tokens, answer) + 1])
    return () if -1 in said else said


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


def _decodes_in_order(resident: ResidentModel) -> bool:
    """Whether the text of some tokens stays the beginning of the text when more follow."""
    tokenizer = resident.tokenizer
    if tokenizer.clean_up_tokenization_spaces:
        return False
    decoder = tokenizer.backend_tokenizer.decoder
    return isinstance(decoder, decoders.ByteLevel | decoders.Metaspace | decoders.Sequence)
