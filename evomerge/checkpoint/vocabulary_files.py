"""A merge with its own vocabulary as a folder: tokenizer, chat template, and ids that agree."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from torch import Tensor

from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.vocabulary_alignment import Alignment
from evomerge.checkpoint.vocabulary_config import config_changes, generation_document
from evomerge.checkpoint.vocabulary_union import write_union_tokenizer
from evomerge.checkpoint.writer import write_checkpoint


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
            tokenizer_from=tokenizer_folder(alignment, Path(scratch)),
            documents={**generation_document(base, alignment.owner), **documents},
        )


def tokenizer_folder(alignment: Alignment, scratch: Path) -> Path:
    """The folder with the tokenizer of a merge; a union is made in `scratch` where it is new."""
    own = alignment.owner.path
    if not alignment.contributors or alignment.vocabulary is None:
        return own
    folders = [own, *(model.path for model in alignment.contributors)]
    write_union_tokenizer(alignment.vocabulary, folders, scratch)
    return scratch
