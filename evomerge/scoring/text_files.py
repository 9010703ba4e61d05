"""Files of text as documents: read and checked without a tokenizer."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from evomerge.errors import UsageError

_PIECE_LINES = 1000
"""How much of a plain text is read at once."""

LONGEST = 256
"""Tokens of a text that one item of its perplexity foretells, at most."""
FEWEST_ITEMS = 2
"""Below it there is no standard error."""


def read_documents(path: Path) -> Iterator[Iterator[str]]:
    """The documents of a text, each in pieces that are read as they are taken.

    Plain text is one document, in pieces of whole lines. With the suffix `.jsonl` each line that is
    not blank holds a document under the key `text`.

    Raises:
        UsageError: the file cannot be read as such a text; names the line.
    """
    if path.suffix != ".jsonl":
        yield _pieces(path)
        return
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield iter([_text(line, f"{path}:{number}")])


def read_prompts(path: Path) -> Iterator[str]:
    """The prompts of a file: the documents of a `.jsonl`, else the lines that are not blank.

    Raises:
        UsageError: the file cannot be read as such a text; names the line.
    """
    if path.suffix == ".jsonl":
        yield from map("".join, read_documents(path))
        return
    for line in _lines(path):
        if line.strip():
            yield line.rstrip("\r\n")


def too_short(path: Path, metric: str, n_items: int) -> UsageError:
    """The error for a text of too few items."""
    items = f"stretches of up to {LONGEST} tokens" if metric == "perplexity" else "prompts"
    return UsageError(
        f"{path} has {n_items} {items}, expected at least {FEWEST_ITEMS}, without which there is "
        f"no standard error of {metric}; name a longer text"
    )


def _pieces(path: Path) -> Iterator[str]:
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
