"""A merge with its own vocabulary as a folder: tokenizer, chat template, and ids that agree."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from torch import Tensor

from evomerge.checkpoint.files import read_json
from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.vocabulary_alignment import Alignment
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.checkpoint.vocabulary_tables import vocabulary_size
from evomerge.checkpoint.vocabulary_union import write_union_tokenizer
from evomerge.checkpoint.writer import write_checkpoint

GENERATION = "generation_config.json"

_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def write_aligned(
    tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
    out_dir: Path,
    *,
    base: Checkpoint,
    alignment: Alignment,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a merge of aligned models: like the base, with the vocabulary of the alignment.

    The tokenizer files, special tokens and chat template are those of `alignment.owner`; the
    tokenizer of a union has its owner's with the tokens that it lacks.

    Args:
        tensors: exactly the tensors of `alignment.base`.
        out_dir: a folder that does not exist or is empty.
        base: the base as it lies on disk, whose config the merge has but for its vocabulary.
        alignment: what `align` gave.
        documents: texts to write beside the weights, by file name.

    Raises:
        UsageError: `out_dir` exists and is not an empty folder.
        ModelError: the tensors are not those of the base, or not finite; or the tokenizers have
            no union.
        InfrastructureError: the disk refuses.
    """
    with TemporaryDirectory() as scratch:
        write_checkpoint(
            tensors,
            out_dir,
            like=base,
            infos=alignment.base.infos(),
            config_changes=config_changes(base, alignment.owner, alignment.n_rows),
            tokenizer_from=_tokenizer_folder(alignment, Path(scratch)),
            documents={**generation_document(base, alignment.owner), **documents},
        )


def config_changes(model: Model, owner: Model, n_rows: int) -> dict[str, Any]:
    """What config.json of a model says otherwise with another's vocabulary of `n_rows` rows."""
    config = model.config
    if owner is model and vocabulary_size(config) == n_rows:
        return {}
    special = {} if owner is model else _special_ids(owner.config)
    changes: dict[str, Any] = {
        key: i for key, i in special.items() if key in config or i is not None
    }
    text = config.get("text_config")
    if isinstance(text, Mapping):
        own = {key: i for key, i in special.items() if key in text}
        changes["text_config"] = {**text, **own, "vocab_size": n_rows}
    if "vocab_size" in config or not isinstance(text, Mapping):
        changes["vocab_size"] = n_rows
    return changes


def generation_document(model: Model, owner: Model) -> dict[str, str]:
    """generation_config.json of a model with the special tokens of another; empty if unchanged."""
    path, theirs = model.path / GENERATION, owner.path / GENERATION
    if owner is model or not path.is_file():
        return {}
    data = read_json(path)
    special = _special_ids({**owner.config, **(read_json(theirs) if theirs.is_file() else {})})
    data |= {key: i for key, i in special.items() if key in data or i is not None}
    return {GENERATION: json.dumps(data, indent=2, ensure_ascii=False) + "\n"}


def _special_ids(config: Mapping[str, Any]) -> dict[str, Any]:
    """The ids of special tokens that a config names, at its top or in its text part; else null."""
    text = config.get("text_config")
    known = {**(text if isinstance(text, Mapping) else {}), **config}
    return {key: known.get(key) for key in _SPECIAL_IDS}


def _tokenizer_folder(alignment: Alignment, scratch: Path) -> Path:
    """The folder with the tokenizer of a merge; a union is made in `scratch` where it is new."""
    own = alignment.owner.path
    if not alignment.contributors or alignment.vocabulary is None:
        return own
    folders = [own, *(model.path for model in alignment.contributors)]
    write_union_tokenizer(alignment.vocabulary, folders, scratch)
    return scratch
