"""Logits of a reference in a file, so that they are computed once and not in every process."""

import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)


def read_logits(path: Path) -> dict[int, Tensor]:
    """The logits in a file, `(n_vocab,)` by item; none where there is no file or it is damaged."""
    try:
        tensors = load_file(path)
        items, logits = tensors["items"].tolist(), tensors["logits"]
        if logits.dim() != 2 or not torch.isfinite(logits).all():
            raise ValueError(
                f"its logits are {tuple(logits.shape)} numbers that are not all finite"
            )
        return dict(zip(items, logits, strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        log.warning("%s holds no logits that can be read (%s); they are computed anew", path, error)
        return {}


def write_logits(path: Path, logits: Mapping[int, Tensor]) -> None:
    """Write the logits, so that they are there whole or not at all; a full disk is no harm."""
    tensors = {
        "items": torch.tensor(list(logits), dtype=torch.int64),
        "logits": torch.stack(list(logits.values())),
    }
    draft = path.with_suffix(f".{os.getpid()}.{uuid.uuid4().hex[:8]}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        log.warning("the logits of a reference are not kept in %s: %s", path, error)
        with suppress(OSError):
            draft.unlink()
