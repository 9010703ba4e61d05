"""The identity of a model: a digest of everything a merge takes from it."""

import hashlib
import json
from collections.abc import Iterator

import torch
from torch import Tensor

from evomerge.checkpoint.files import ADAPTER_CONFIG, COPIED_FILES
from evomerge.checkpoint.reader import Checkpoint

_PIECE_BYTES = 16 << 20


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over config, tokenizer, generation settings, and every tensor with its name.

    The same for a model however it is split into files. Of an adapter, over its own settings and
    tensors, as `open_stored` opens it. Streams through the mapped files, so it takes as long as
    reading them does.
    """
    digest = hashlib.sha256()
    for name in (*COPIED_FILES, ADAPTER_CONFIG):
        path = checkpoint.path / name
        if path.is_file():
            digest.update(
                json.dumps([name, hashlib.sha256(path.read_bytes()).hexdigest()]).encode()
            )
    for name, info in sorted(checkpoint.infos().items()):
        digest.update(json.dumps([name, str(info.dtype), info.shape]).encode())
        for piece in pieces(checkpoint.read(name).reshape(-1).view(torch.uint8), _PIECE_BYTES):
            digest.update(piece.numpy().data)
    return digest.hexdigest()


def pieces(flat: Tensor, n: int) -> Iterator[Tensor]:
    """Consecutive views of at most `n` entries that cover a flat tensor."""
    return (flat[start : start + n] for start in range(0, len(flat), n))
