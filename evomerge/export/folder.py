"""A merge as a folder that Hugging Face loads, with all that a stranger needs to know about it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from evomerge.checkpoint.files import is_adapter
from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.writer import write_checkpoint
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
        InfrastructureError: the disk refuses.
    """
    documents = {
        "README.md": model_card(card),
        "mergekit_config.yml": _mergekit(base, card),
        "evomerge.json": provenance(card),
    }
    write_checkpoint(tensors, out_dir, like=base, documents=documents)


def _mergekit(base: Checkpoint, card: CardData) -> str:
    infos = base.infos()
    dtype = str(next(iter(infos.values())).dtype).removeprefix("torch.")
    experts = {
        # mergekit's way to say an adapter on its base
        name: f"{card.base}+{path}" if is_adapter(Path(path)) else path
        for name, path in card.experts.items()
    }
    paths = ModelPaths(card.base, experts)
    return mergekit_config(card.member.recipe, paths, infos, dtype=dtype)
