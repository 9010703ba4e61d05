"""Logits of a reference in a file, so that they are computed once and not in every process."""

import hashlib
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)


def read_logits(path: Path) -> dict[int, Tensor]:
    """The logits in a file, `(n_vocab,)` by item; none where there is no file or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: what is mapped would change with the file.
            tensors = {name: file.get_tensor(name).clone() for name in ("items", "logits")}
            digest = (file.metadata() or {}).get("digest")
        if digest != _digest(tensors):
            raise ValueError("they were changed since they were written")
        return dict(zip(tensors["items"].tolist(), tensors["logits"], strict=True))
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
        save_file(tensors, draft, metadata={"digest": _digest(tensors)})
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        log.warning("the logits of a reference are not kept in %s: %s", path, error)
        with suppress(OSError):
            draft.unlink()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
