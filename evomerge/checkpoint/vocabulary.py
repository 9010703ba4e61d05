"""The vocabulary of a model: which token each row of its tables belongs to, read from its files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evomerge.checkpoint.files import read_json
from evomerge.errors import ModelError

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer, each with its id, which is its row in embedding and head.

    Args:
        ids: token → id, in the order of the ids; added tokens included.
        special: the tokens that mark structure rather than spell text, such as `</s>`.
    """

    ids: Mapping[str, int]
    special: frozenset[str] = frozenset()

    @cached_property
    def tokens(self) -> Mapping[int, str]:
        """id → token; the other way round."""
        return {i: token for token, i in self.ids.items()}

    @property
    def n_ids(self) -> int:
        """How many rows a table needs to hold every token."""
        return 1 + max(self.ids.values(), default=-1)

    def within(self, n_rows: int) -> "Vocabulary":
        """The tokens that have a row in a table of `n_rows`: some tokenizers name more."""
        if self.n_ids <= n_rows:
            return self
        kept = {token: i for token, i in self.ids.items() if i < n_rows}
        return Vocabulary(kept, self.special & kept.keys())


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary in a folder's tokenizer.json; None where there is no such file.

    No tokenizer is built and no code is run; 150,000 tokens take a fraction of a second.

    Raises:
        ModelError: the file is damaged, or not a tokenizer.
    """
    path = folder / TOKENIZER
    return vocabulary_of(read_json(path), path) if path.is_file() else None


def vocabulary_of(data: Mapping[str, Any], path: Path) -> Vocabulary:
    """The vocabulary of a parsed tokenizer.json; `path` is for the message.

    Raises:
        ModelError: it does not say which id each token has.
    """
    try:
        added = {entry["content"]: int(entry["id"]) for entry in data.get("added_tokens") or ()}
        special = {entry["content"] for entry in data.get("added_tokens") or () if entry["special"]}
        ids = _model_ids(data["model"]["vocab"]) | added
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} does not say which id each token has ({error!r}), expected a tokenizer as the "
            "library tokenizers saves it; save it again with "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        ) from error
    return Vocabulary(dict(sorted(ids.items(), key=lambda item: item[1])), frozenset(special))


def union(vocabularies: Iterable[Vocabulary]) -> Vocabulary:
    """The first vocabulary as it is, then in turn the tokens that each of the others adds."""
    first, *others = vocabularies
    ids, special = dict(first.ids), set(first.special)
    end = first.n_ids
    for vocabulary in others:
        new = [token for token in vocabulary.ids if token not in ids]
        ids |= {token: end + i for i, token in enumerate(new)}
        special |= vocabulary.special & set(new)
        end += len(new)
    return Vocabulary(ids, frozenset(special))


def _model_ids(vocab: Any) -> dict[str, int]:
    """BPE, WordPiece and WordLevel map tokens to ids; Unigram lists them with their scores."""
    if isinstance(vocab, list):
        return {token: i for i, (token, _score) in enumerate(vocab)}
    return {token: int(i) for token, i in vocab.items()}
