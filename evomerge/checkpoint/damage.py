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


def find_damage(model: OpenModel) -> list[Problem]:
    """Files that differ from their digests, and tensors that hold NaN or infinity.

    One streaming pass over the stored bytes, each file by itself. Files without a known digest are
    checked for finite values alone.
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
    digest = hashlib.sha256(shard.header())
    problems = []
    for name in shard.names:
        tensor = shard.read(name)
        n_bad = 0
        for piece in _pieces(tensor):
            if expected is not None:
                digest.update(piece.view(torch.uint8).numpy().data)
            if name in shard.infos:
                n_bad += _n_non_finite(piece)
        if n_bad:
            message = (
                f"tensor '{name}' in {shard.file.name} has {n_bad} of {tensor.numel()} entries "
                "that are NaN or infinite, expected finite weights; download the model again, and "
                "if that does not help leave it out"
            )
            problems.append(Problem(where, message))
    if expected not in (None, digest.hexdigest()):
        message = (
            f"{shard.file.name} has the SHA-256 {digest.hexdigest()}, expected {expected} as its "
            "manifest or its name in the hub's cache says: it was changed or damaged; download it "
            "again, or remove the manifest if the change was meant"
        )
        problems.append(Problem(where, message))
    return problems


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    return pieces(tensor.reshape(-1), _PIECE_BYTES // tensor.dtype.itemsize)


def _n_non_finite(piece: Tensor) -> int:
    if not piece.is_floating_point():
        return 0
    low, high = piece.aminmax()  # either is NaN where any entry is
    return 0 if low.isfinite() and high.isfinite() else int((~piece.isfinite()).sum())
