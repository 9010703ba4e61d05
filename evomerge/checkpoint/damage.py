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
    folder's manifest; where it differs or there is none, its tensors with what a file that was
    written here tells of them. Others are checked for finite values alone.
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
    digest = hashlib.sha256(shard.header()) if expected else None
    messages = [
        message for name in shard.names if (message := _non_finite(shard, name, digest)) is not None
    ]
    if digest is None or digest.hexdigest() != expected:
        changed = list(_changed(shard))
        if digest is not None and not changed:
            changed = [
                f"{shard.file.name} has the SHA-256 {digest.hexdigest()}, expected {expected} as "
                f"its manifest or its name in the hub's cache says: {_CHANGED}, or remove the "
                "manifest if the change was meant"
            ]
        messages += changed
    return [Problem(where, message) for message in messages]


def _non_finite(shard: Shard, name: str, digest: "hashlib._Hash | None") -> str | None:
    """What is wrong with a tensor's numbers; its bytes are also added to the file's digest."""
    tensor, n_bad = shard.read(name), 0
    for piece in pieces(tensor.reshape(-1), _PIECE_BYTES // tensor.dtype.itemsize):
        if digest is not None:
            digest.update(_bytes(piece))
        n_bad += _n_non_finite(piece) if name in shard.infos else 0
    if not n_bad:
        return None
    return (
        f"tensor '{name}' in {shard.file.name} has {n_bad} of {tensor.numel()} entries that are "
        "NaN or infinite, expected finite weights; download the model again, and if that does not "
        "help leave it out"
    )


def _changed(shard: Shard) -> Iterator[str]:
    """The tensors that are not what their file tells of them, if it does."""
    told = shard.digests()
    for name in shard.names:
        if name in told:
            found = hashlib.sha256(_bytes(shard.read(name).reshape(-1))).hexdigest()
            if found != told[name]:
                yield f"tensor '{name}' in {shard.file.name} is not what was written: {_CHANGED}"


def _bytes(flat: Tensor) -> memoryview:
    data: memoryview = flat.view(torch.uint8).numpy().data
    return data


def _n_non_finite(piece: Tensor) -> int:
    if not piece.is_floating_point():
        return 0
    low, high = piece.aminmax()  # either is NaN where any entry is
    return 0 if low.isfinite() and high.isfinite() else int((~piece.isfinite()).sum())
