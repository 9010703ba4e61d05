"""Texts as token sequences, as statistics are collected from them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from evomerge.errors import UsageError
from evomerge.scoring.text_files import read_documents


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
    end = [] if path.suffix != ".jsonl" else _end(tokenizer)
    documents = (itertools.chain(tokens, end) for tokens in read_tokens(path, tokenizer))
    cut = (piece for tokens in documents for piece in _cut(tokens, length))
    sequences = list(itertools.islice(cut, n_sequences))
    if not sequences:
        raise UsageError(
            f"{path} has fewer than two tokens, expected a text; name one as the model is made for"
        )
    return sequences


def read_tokens(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[Iterator[int]]:
    """The tokens of each document without special ones, tokenised as they are taken.

    Raises:
        UsageError: the file cannot be read as a text.
    """

    def tokens(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    for pieces in read_documents(path):
        yield itertools.chain.from_iterable(map(tokens, pieces))


def _end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _cut(tokens: Iterator[int], length: int) -> Iterator[Tensor]:
    """Consecutive pieces; a single token that is left over foretells nothing and is left out."""
    while len(piece := list(itertools.islice(tokens, length))) > 1:
        yield torch.tensor(piece, dtype=torch.int64)
