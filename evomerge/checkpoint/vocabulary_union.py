"""One tokenizer that has the tokens of several: what `tokenizer: union` means in its files.

The union tokenizer is the first one, with its normaliser, pre-tokeniser, ids and special tokens,
and with what the others add:

    added tokens, special or not     added, with their flags
    BPE                              the others' merges after the first one's own: a text is
                                     merged as the first one merges it, and only then further
    WordLevel, WordPiece             the others' words in its list
    Unigram                          refused: an id is a place in a list that cannot be extended

mergekit 0.1.4 lists every new token as an added one: those are cut out of a text before the base's
merges see it, also in the middle of words. The rows are the same either way.

Tokens of a BPE tokenizer that spells otherwise (bytes as `Ġ`, spaces as `▁`) get a row and can be
decoded, but its merges seldom lead to them. A model with such an expert is better served by
`evomerge transplant`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from evomerge.checkpoint.files import read_json
from evomerge.checkpoint.vocabulary import TOKENIZER, Vocabulary
from evomerge.errors import ModelError

_NO_UNION = (
    "the tokenizers have no union in which every token has its row; set `tokenizer: base`, or give "
    "the expert the base's tokenizer first: evomerge transplant"
)
_KEPT = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def write_union_tokenizer(wanted: Vocabulary, folders: Sequence[Path], out: Path) -> None:
    """Write the union of the tokenizers in these folders, with the settings of the first.

    Args:
        wanted: the tokens with their ids; those of the first tokenizer keep theirs.
        folders: the models whose tokenizer.json make the union.
        out: an empty folder.

    Raises:
        ModelError: the tokenizers have no union with these ids.
    """
    data = union_tokenizer(wanted, [read_json(folder / TOKENIZER) for folder in folders])
    text = json.dumps(data, ensure_ascii=False)
    _require_ids(text, wanted)
    (out / TOKENIZER).write_text(text, encoding="utf-8")
    for name in _KEPT:
        if (folders[0] / name).is_file():
            shutil.copyfile(folders[0] / name, out / name)


def union_tokenizer(wanted: Vocabulary, tokenizers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first tokenizer.json with the tokens of the others, as the head of this file says."""
    first = tokenizers[0]
    model = dict(first["model"])
    added = [entry for data in tokenizers for entry in data.get("added_tokens") or ()]
    by_content = {entry["content"]: entry for entry in reversed(added)}  # the first one counts
    if isinstance(model["vocab"], dict):
        # Added tokens too: the library numbers those that it does not find there by itself.
        model["vocab"] = dict(wanted.ids)
    if "merges" in model:
        model["merges"] = _merges([data["model"] for data in tokenizers], wanted)
    entries = [
        by_content[token] | {"id": i} for token, i in wanted.ids.items() if token in by_content
    ]
    return {**first, "added_tokens": entries, "model": model}


def _merges(models: Sequence[Mapping[str, Any]], wanted: Vocabulary) -> list[list[str]]:
    """All merges, each once, in the order of the models, as far as their tokens have rows."""
    pairs = {
        tuple(merge.split(" ") if isinstance(merge, str) else merge): None
        for model in models
        for merge in model.get("merges", ())
    }
    return [list(p) for p in pairs if {*p, "".join(p)} <= wanted.ids.keys()]


def _require_ids(text: str, wanted: Vocabulary) -> None:
    try:
        found = Tokenizer.from_str(text).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library has no class of its own
        raise ModelError(f"{_NO_UNION} ({error})") from error
    if found != wanted.ids:
        raise ModelError(_NO_UNION)
