"""Texts whose sequences are items: tokenised once, as flat arrays that can travel."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import get_rolling_token_windows
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from evomerge.errors import UsageError
from evomerge.records import Measure, measure_key
from evomerge.scoring.resident import load_config, load_tokenizer
from evomerge.scoring.text_files import FEWEST_ITEMS, LONGEST, read_prompts, too_short
from evomerge.scoring.texts import read_tokens

TextMetric = Literal["perplexity", "kl"]

MEASURES: Mapping[TextMetric, Measure] = {
    "perplexity": Measure("weighted_perplexity", higher_is_better=False),
    "kl": Measure("mean", higher_is_better=False),
}
MOST_TOKENS = 1 << 20
"""How much of a text is read: a search asks for a few of its items."""

Sequences = Iterator[tuple[Sequence[int], int]]
"""Tokens, and how many of the last are foretold."""


@dataclass(frozen=True, eq=False)
class TextBenchmark:
    """A text whose items are sequences of tokens.

    Args:
        name: what results of it are kept under, beside the metric.
        metric: `perplexity`: items are stretches of the text, which foretell their last tokens;
            `kl`: items are prompts, which foretell what comes behind them.
        tokens: `(n_tokens,)` int32, one sequence behind the other.
        offsets: `(n_items + 1,)` int64; sequence i is `tokens[offsets[i] : offsets[i + 1]]`.
        n_scored: `(n_items,)` int32, how many last tokens of each are foretold.
    """

    name: str
    metric: TextMetric
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    n_scored: NDArray[np.int32]

    @property
    def n_items(self) -> int:
        """How many sequences there are."""
        return len(self.n_scored)

    @property
    def key(self) -> str:
        """What its item results are kept under."""
        return measure_key(self.name, self.metric)

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How its item results add up, by measure key."""
        return {self.key: MEASURES[self.metric]}

    @property
    def contents(self) -> list[str]:
        """A digest of each item's tokens: equal for equal ones."""
        items = map(self.sequence, range(self.n_items))
        return [hashlib.sha256(sequence.tobytes()).hexdigest() for sequence in items]

    @property
    def digest(self) -> str:
        """A digest of every token: what its scores depend on, wherever the text was read from."""
        digest = hashlib.sha256(self.metric.encode())
        for array in (self.tokens, self.offsets, self.n_scored):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def sequence(self, item: int) -> NDArray[np.int32]:
        """The tokens of an item."""
        return self.tokens[self.offsets[item] : self.offsets[item + 1]]

    def portable(self) -> "TextBenchmark":
        """Itself: it holds nothing that cannot travel."""
        return self


def load_text(
    name: str, metric: TextMetric, path: Path, *, model: Path, chat_template: bool = False
) -> TextBenchmark:
    """The items of a text, as a model's tokenizer reads it.

    The stretches of `perplexity` are lm-eval's rolling windows over each document, without special
    tokens: the first begins with the tokenizer's BOS token, or EOS where it has none, the others
    with the last token of the one before; a last one that is short sees more of what was before.
    Where there is neither BOS nor EOS, a document's first token is context alone. Prompts of `kl`
    have the special tokens that the tokenizer itself adds; of one that is longer than the model's
    context the last tokens are kept.

    Args:
        name: the benchmark's name.
        metric: what its items are for.
        path: plain text or `.jsonl`, see `text_files.read_documents` and `read_prompts`.
        model: folder of the model whose tokenizer and context count.
        chat_template: make each prompt what a user says, in the tokenizer's chat template.

    Raises:
        UsageError: it cannot be read, is too short, or there is no chat template.
        ModelError: the model's tokenizer or config cannot be loaded.
    """
    tokenizer = load_tokenizer(model)
    context = resolve_max_length(load_config(model), tokenizer)
    sequences = (
        _stretches(path, tokenizer, min(LONGEST, context))
        if metric == "perplexity"
        else _prompts(path, tokenizer, context, chat_template)
    )
    found = list(_up_to(MOST_TOKENS, sequences))
    if len(found) < FEWEST_ITEMS:
        raise too_short(path, metric, len(found))
    lengths = [len(tokens) for tokens, _ in found]
    return TextBenchmark(
        name=name,
        metric=metric,
        tokens=np.fromiter(itertools.chain.from_iterable(own for own, _ in found), np.int32),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        n_scored=np.array([n_scored for _, n_scored in found], dtype=np.int32),
    )


def _stretches(path: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> Sequences:
    for document in read_tokens(path, tokenizer):
        tokens = list(itertools.islice(document, MOST_TOKENS))
        prefix = _prefix(tokenizer)
        if prefix is None and tokens:
            prefix, *tokens = tokens
        windows = get_rolling_token_windows(tokens, prefix, length, context_len=1)
        for context, scored in windows:
            yield [*context, scored[-1]], len(scored)


def _prefix(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that a document's first one is foretold from, as lm-eval chooses it."""
    bos: int | None = tokenizer.bos_token_id
    eos: int | None = tokenizer.eos_token_id
    return eos if bos is None else bos


def _prompts(
    path: Path, tokenizer: PreTrainedTokenizerBase, context: int, chat_template: bool
) -> Sequences:
    if chat_template and not tokenizer.chat_template:
        raise UsageError(
            f"the tokenizer has no chat template to put the prompts of {path} into; leave "
            "chat_template out"
        )
    for text in read_prompts(path):
        if chat_template:
            message = [{"role": "user", "content": text}]
            said = tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
            tokens = tokenizer(said, add_special_tokens=False, verbose=False)["input_ids"]
        else:
            tokens = tokenizer(text, verbose=False)["input_ids"]
        if tokens:
            yield tokens[-context:], 0


def _up_to(n_tokens: int, sequences: Sequences) -> Sequences:
    """The first sequences, until they have so many tokens together."""
    n_taken = 0
    for tokens, n_scored in sequences:
        yield tokens, n_scored
        n_taken += len(tokens)
        if n_taken >= n_tokens:
            return
