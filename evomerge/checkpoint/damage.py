"""What opening a model cannot see: bits that changed, and numbers that are none."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from torch import Tensor

from evomerge.checkpoint.adapter import AdaptedModel, OpenModel
from evomerge.checkpoint.fingerprint import pieces
from evomerge.checkpoint.manifest import known_digest
from evomerge.checkpoint.reader import Shard
from evomerge.errors import ModelError, Problem

_PIECE_BYTES = 8 << 20
_N_THREADS = 2

_CHANGED = "it was changed or damaged; download or write it again"


def find_damage(model: OpenModel) -> list[Problem]:
    """Files that differ from their digests, and tensors that hold NaN or infinity.

    One streaming pass over the stored bytes, each file by itself. A file is compared with its
    folder's manifest, and each tensor with what a file that was written here tells of it; files of
    which nothing is known are checked for finite values alone.
    """
    stored = model.stored if isinstance(model, AdaptedModel) else model
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(chain.from_iterable(pool.map(_damage, stored.shards)))


def _damage(shard: Shard) -> list[Problem]:
    where = f"model {shard.file.parent}"
    try:
        expected = known_digest(shard.file)
    except ModelError as error:
        return [Problem(where, str(error))]
    whole = hashlib.sha256(shard.header()) if expected else None
    told = shard.digests()
    messages = [
        message for name in shard.names for message in _look_at(shard, name, whole, told.get(name))
    ]
    is_named = any(_CHANGED in message for message in messages)
    if whole is not None and whole.hexdigest() != expected and not is_named:
        messages.append(
            f"{shard.file.name} has the SHA-256 {whole.hexdigest()}, expected {expected} as its "
            f"manifest or its name in the hub's cache says: {_CHANGED}, or remove the manifest if "
            "the change was meant"
        )
    return [Problem(where, message) for message in messages]


def _look_at(
    shard: Shard, name: str, whole: "hashlib._Hash | None", expected: str | None
) -> Iterator[str]:
    """What is wrong with one tensor, whose bytes are also added to the digest of the whole file."""
    tensor, n_bad = shard.read(name), 0
    own = hashlib.sha256() if expected else None
    for piece in pieces(tensor.reshape(-1), _PIECE_BYTES // tensor.dtype.itemsize):
        for digest in (whole, own):
            if digest is not None:
                digest.update(piece.view(torch.uint8).numpy().data)
        n_bad += _n_non_finite(piece) if name in shard.infos else 0
    where = f"tensor '{name}' in {shard.file.name}"
    if own is not None and own.hexdigest() != expected:
        yield f"{where} is not what was written: {_CHANGED}"
    if n_bad:
        yield (
            f"{where} has {n_bad} of {tensor.numel()} entries that are NaN or infinite, expected "
            "finite weights; download the model again, and if that does not help leave it out"
        )


def _n_non_finite(piece: Tensor) -> int:
    if not piece.is_floating_point():
        return 0
    low, high = piece.aminmax()  # either is NaN where any entry is
    return 0 if low.isfinite() and high.isfinite() else int((~piece.isfinite()).sum())
