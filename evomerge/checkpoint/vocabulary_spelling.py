"""What text the tokens of a tokenizer stand for, whichever way they spell it.

byte-level BPE (GPT-2, Llama 3, Qwen)   one character for each byte, `Ġ` for a space
SentencePiece (Llama 2, Gemma)          `▁` for a space, `<0x0A>` for a byte
all others, and added tokens            as they are
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evomerge.checkpoint.files import read_json
from evomerge.checkpoint.vocabulary import TOKENIZER, Vocabulary

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + i): byte for i, byte in enumerate(_OTHERS)
}
"""The alphabet of byte-level BPE, defined by GPT-2: bytes that do not print are moved to 256 on."""


def spellings(folder: Path, vocabulary: Vocabulary) -> dict[str, bytes]:
    """token → the bytes of text that it stands for, for the tokenizer.json of a folder.

    Raises:
        ModelError: the file cannot be read.
    """
    data = read_json(folder / TOKENIZER)
    added = {entry["content"] for entry in data.get("added_tokens") or ()}
    spelled = _spelled_as(data)
    return {t: t.encode() if t in added else spelled(t) for t in vocabulary.ids}


def _spelled_as(data: Mapping[str, Any]) -> Callable[[str], bytes]:
    parts = [data.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")]
    if any(_mentions(part, "ByteLevel") for part in parts):
        return _from_bytes
    if any(_mentions(part, "▁") for part in parts):
        return _from_pieces
    return str.encode


def _mentions(part: Any, word: str) -> bool:
    if isinstance(part, Mapping):
        return any(_mentions(value, word) for value in part.values())
    if isinstance(part, list):
        return any(_mentions(value, word) for value in part)
    return bool(part == word)


def _from_bytes(token: str) -> bytes:
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return token.encode()


def _from_pieces(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
