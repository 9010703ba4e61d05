"""What is worked out once from large tensors, kept in files and mapped: never private memory.

Every entry is a folder of arrays, written aside and renamed when complete, under a digest of what
it was made from. So any number of processes can share a directory: an entry is there as a whole or
not at all, is the same whoever wrote it, and is not found once the models have changed.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evomerge.errors import InfrastructureError

_FORMAT = "1"
"""Part of every digest: another way to compute factors, or to lay them out, needs another one."""

_LEAST_MAPPED_BYTES = 1 << 14

Factors = Mapping[str, Tensor]


class FactorStore:
    """Named tensors by what they were made from.

    Args:
        directory: where entries are kept, made when first needed; one that lasts as long as the
            store by default.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._digests: dict[Hashable, str] = {}

    def digest(self, key: Hashable, contents: Callable[[], Iterable[Tensor]]) -> str:
        """A digest of tensors, computed at the first call with this key."""
        if key not in self._digests:
            digest = hashlib.sha256()
            for tensor in contents():
                digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
            self._digests[key] = digest.hexdigest()
        return self._digests[key]

    def entry(self, made_from: tuple[str, ...], compute: Callable[[], Factors]) -> Factors:
        """The tensors made from what these words tell apart, computed unless they are there.

        Args:
            made_from: what is computed, and the digests of what it is computed from.
            compute: gives float tensors by plain names; they are kept in float32.

        Returns:
            The tensors as they were kept, mapped from files: not to be written to.

        Raises:
            InfrastructureError: the entry cannot be written.
        """
        name = hashlib.sha256("\0".join((_FORMAT, *made_from)).encode()).hexdigest()[:32]
        folder = self._root() / name
        if not folder.is_dir():
            factors = compute()
            try:
                _write(folder, factors)
            except OSError as error:
                raise InfrastructureError(
                    f"prepared factors cannot be written to {folder.parent}: {error}; free space "
                    "there, or give another directory for them"
                ) from error
        return {path.stem: _mapped(path) for path in folder.glob("*.npy")}

    def _root(self) -> Path:
        if self._directory is not None:
            return self._directory
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="evomerge-factors-")
        return Path(self._temporary.name)


def _write(folder: Path, factors: Factors) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder.parent))
    try:
        for name, tensor in factors.items():
            np.save(aside / f"{name}.npy", tensor.float().numpy(), allow_pickle=False)
        try:
            aside.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same numbers
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _mapped(path: Path) -> Tensor:
    # Mapped copy-on-write, as torch knows no tensors that cannot be written to.
    is_large = path.stat().st_size >= _LEAST_MAPPED_BYTES
    return torch.from_numpy(np.load(path, mmap_mode="c" if is_large else None, allow_pickle=False))
