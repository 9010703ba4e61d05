"""When generation ends, and whether it is the plain greedy decoding that can be foretold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from tokenizers import decoders

from evomerge.scoring.benchmark import Benchmark
from evomerge.scoring.resident import ResidentModel

_GREEDY_OPTIONS = {"do_sample", "temperature", "until", "max_gen_toks"}
_HARMLESS_GENERATION_CONFIG = {
    "bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_k", "top_p",
    "min_p", "typical_p", "max_length", "use_cache", "output_attentions", "output_hidden_states",
    "transformers_version", "_from_model_config",
}  # fmt: skip
"""Settings of a generation config that do not change greedy decoding."""


@dataclass(frozen=True)
class Limits:
    """When generation ends: at an end token, a stop string, or a number of tokens.

    `special` are tokens that the text does not show; what lm-eval does after one that is no end
    token depends on the batch.
    """

    end_tokens: frozenset[int]
    special: frozenset[int]
    stops: tuple[str, ...]
    max_tokens: int

    def cut(self, text: str) -> str:
        """The text before the first stop string."""
        return str(postprocess_generated_text(text, list(self.stops), None))


def limits_of(resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> Limits:
    """The limits of a task's answers."""
    options = normalize_gen_kwargs(benchmark.task.config.generation_kwargs, lm.max_gen_toks)
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    stops = handle_stop_sequences(list(options["until"]), eos=eos)
    ends = resident.model.generation_config.eos_token_id
    end_tokens = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return Limits(
        end_tokens=frozenset(end_tokens),
        special=frozenset(resident.tokenizer.all_special_ids),
        stops=tuple(stop for stop in stops if stop),
        max_tokens=options["max_gen_toks"],
    )


def decodes_greedily(resident: ResidentModel, lm: HFLM, benchmark: Benchmark) -> bool:
    """Whether answers are what has the largest logit, token by token, with no frills."""
    options = normalize_gen_kwargs(benchmark.task.config.generation_kwargs, lm.max_gen_toks)
    return (
        benchmark.task.config.repeats == 1
        and not options["do_sample"]
        and options.keys() <= _GREEDY_OPTIONS
        and _decodes_in_order(resident)
        and resident.model.generation_config.to_diff_dict().keys() <= _HARMLESS_GENERATION_CONFIG
    )


def _decodes_in_order(resident: ResidentModel) -> bool:
    """Whether the text of some tokens stays the beginning of the text when more follow."""
    tokenizer = resident.tokenizer
    if tokenizer.clean_up_tokenization_spaces:
        return False
    decoder = tokenizer.backend_tokenizer.decoder
    return isinstance(decoder, decoders.ByteLevel | decoders.Metaspace | decoders.Sequence)


def until_end(tokens: Iterable[int], limits: Limits) -> tuple[int, ...]:
    """The tokens up to and including the first end token."""
    said: list[int] = []
    for token in tokens:
        said.append(token)
        if token in limits.end_tokens:
            break
    return tuple(said)


class StopWatch:
    """Sees where an answer says a stop string, without reading all of it after every token."""

    def __init__(self, lm: HFLM, limits: Limits) -> None:
        self._lm, self._limits = lm, limits
        self._may_end: dict[int, bool] = {}
        # A token is a byte at least; the first ones may be halves of characters.
        self._n_tail = max((len(stop.encode()) for stop in limits.stops), default=0) + 4
        self._last = {stop[-1] for stop in limits.stops}

    def has_stopped(self, said: Sequence[int]) -> bool:
        """Whether the last of these tokens completes a stop string."""
        token = said[-1]
        if token not in self._may_end:
            self._may_end[token] = self._can_complete(self._lm.tok_decode([token]))
        if not self._may_end[token]:
            return False
        tail = self._lm.tok_decode(list(said[-self._n_tail :]))
        return any(stop in tail for stop in self._limits.stops)

    def _can_complete(self, text: str) -> bool:
        # Alone, a token may lose the space it begins with, or be a part of a character.
        return " " in self._last or "\ufffd" in text or any(end in text for end in self._last)
