"""Texts as token sequences, as statistics are collected from them."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evomerge.errors import UsageError

_PIECE_LINES = 1000
"""How much of a plain text is tokenised at once."""


def read_sequences(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, n_sequences: int, length: int
) -> list[Tensor]:
    """The first sequences of a text; what is of one document is never beside another.

    Args:
        path: plain text, one document; or, with the suffix `.jsonl`, a document a line under the
            key `text`, which the end token is put behind.
        tokenizer: of the model.
        n_sequences: how many at most.
        length: tokens of the longest; a document that has more is cut into several.

    Returns:
        each `(n_tokens,)` int64, of two tokens to `length`.

    Raises:
        UsageError: the file cannot be read as such a text, or has fewer than two tokens.
    """
    cut = (piece for tokens in _documents(path, tokenizer) for piece in _cut(tokens, length))
    sequences = list(itertools.islice(cut, n_sequences))
    if not sequences:
        raise UsageError(
            f"{path} has fewer than two tokens, expected a text; name one as the model is made for"
        )
    return sequences


def _cut(tokens: Iterator[int], length: int) -> Iterator[Tensor]:
    """Consecutive pieces; a single token that is left over foretells nothing and is left out."""
    while len(piece := list(itertools.islice(tokens, length))) > 1:
        yield torch.tensor(piece, dtype=torch.int64)


def _documents(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[Iterator[int]]:
    """The tokens of each document, tokenised as they are taken."""

    def tokens(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    if path.suffix != ".jsonl":
        yield itertools.chain.from_iterable(map(tokens, _pieces(path)))
        return
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield iter([*tokens(_text(line, f"{path}:{number}")), *end])


def _pieces(path: Path) -> Iterator[str]:
    """A plain text in pieces of whole lines."""
    lines = _lines(path)
    while piece := "".join(itertools.islice(lines, _PIECE_LINES)):
        yield piece


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; expected a text in UTF-8") from error


def _text(line: str, where: str) -> str:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {error}; expected a JSON object a line") from error
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise UsageError(
            f'{where} has no text, expected {{"text": "…"}}; put each document under the key '
            "`text`, or name a plain text without the suffix .jsonl"
        )
    return text
