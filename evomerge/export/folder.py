"""A merge as a folder that Hugging Face loads, with all that a stranger needs to know about it."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.errors import UsageError
from evomerge.export.card import CardData, model_card
from evomerge.export.mergekit import ModelPaths, mergekit_config
from evomerge.export.provenance import provenance


def export_model(
    tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
    base: Checkpoint,
    out_dir: Path,
    card: CardData,
) -> None:
    """Write weights, config, tokenizer, model card, mergekit file and provenance; all or nothing.

    Args:
        tensors: the merged tensors, such as `PreparedMerge.merged(card.member.recipe)`.
        base: the base of the merge, whose config and tokenizer are copied.
        out_dir: a folder that does not exist or is empty.
        card: what the card tells.

    Raises:
        UsageError: `out_dir` exists and is not an empty folder, or the recipe's layer groups do
            not fit the base.
        ModelError: the tensors are not those of the base, or not finite.
    """
    if out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir())):
        raise UsageError(
            f"{out_dir} exists and is not an empty folder; expected a new one: choose another "
            "name, or remove it first"
        )
    documents = {
        "README.md": model_card(card),
        "mergekit_config.yml": _mergekit(base, card),
        "evomerge.json": provenance(card),
    }
    with _complete_or_absent(out_dir) as folder:
        write_checkpoint(tensors, folder, like=base)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")


def _mergekit(base: Checkpoint, card: CardData) -> str:
    infos = base.infos()
    dtype = str(next(iter(infos.values())).dtype).removeprefix("torch.")
    paths = ModelPaths(card.base, card.experts)
    return mergekit_config(card.member.recipe, paths, infos, dtype=dtype)


@contextmanager
def _complete_or_absent(out_dir: Path) -> Iterator[Path]:
    """A folder beside `out_dir` that becomes `out_dir`, or vanishes after an error."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    aside = out_dir.with_name(f".{out_dir.name}.{uuid4().hex[:8]}.export")
    try:
        yield aside
        aside.rename(out_dir)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
