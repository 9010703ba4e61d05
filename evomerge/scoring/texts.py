"""Texts as token sequences of one length, as statistics are collected from them."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evomerge.errors import UsageError

_PIECE_CHARS = 1 << 20
"""How much of a plain text is tokenised at once, up to the end of its line."""


def read_sequences(
    path: Path, tokenizer: PreTrainedTokenizerBase, *, n_sequences: int, length: int
) -> Tensor:
    """The first tokens of a text, cut into sequences.

    Args:
        path: plain text, one document; or, with the suffix `.jsonl`, a document a line under the
            key `text`. An end token stands between documents.
        tokenizer: of the model.
        n_sequences: how many at most.
        length: tokens of each; what is left at the end of the text is not used, unless it is all.

    Returns:
        `(n, length)` int64, n from 1 to `n_sequences`; `(1, n_tokens)` of a text that is shorter.

    Raises:
        UsageError: the file cannot be read as such a text, or has fewer than two tokens.
    """
    wanted = itertools.islice(_tokens(path, tokenizer), n_sequences * length)
    tokens = torch.tensor(list(wanted), dtype=torch.int64)
    if len(tokens) < 2:
        raise UsageError(
            f"{path} has {len(tokens)} tokens, expected a text of two or more; "
            "name a text as the model is made for"
        )
    length = min(length, len(tokens))
    return tokens[: len(tokens) // length * length].view(-1, length)


def _tokens(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    documents = _documents(path) if path.suffix == ".jsonl" else iter([_pieces(path)])
    for place, document in enumerate(documents):
        if place:
            yield from end
        for piece in document:
            yield from tokenizer(piece, add_special_tokens=False)["input_ids"]


def _pieces(path: Path) -> Iterator[str]:
    """A plain text in pieces of whole lines."""
    try:
        with path.open(encoding="utf-8") as file:
            while lines := file.readlines(_PIECE_CHARS):
                yield "".join(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; expected a text in UTF-8") from error


def _documents(path: Path) -> Iterator[list[str]]:
    """The texts of a JSONL file, each in one piece."""
    lines = itertools.chain.from_iterable(piece.splitlines() for piece in _pieces(path))
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield [_text(line, f"{path}:{number}")]


def _text(line: str, where: str) -> str:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{where}: {error}; expected a JSON object a line") from error
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise UsageError(
            f'{where} has no text, expected {{"text": "…"}}; put each document under the key '
            "`text`, or name a plain text without the suffix .jsonl"
        )
    return text
