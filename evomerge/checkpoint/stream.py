"""Safetensors files written as their tensors come: the header first, nothing kept in memory.

The format: 8 bytes with the length of a JSON header, the header, the data without gaps
(https://github.com/huggingface/safetensors).
"""

import ctypes
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from evomerge.checkpoint.reader import DIGESTS, DTYPES
from evomerge.records import TensorInfo

_KINDS = {dtype: kind for kind, dtype in DTYPES.items()}
_ALIGNMENT = 8
_NO_DIGEST = "0" * 64
_N_THREADS = 2
_N_IN_FLIGHT = 3


class StreamedFile:
    """One safetensors file under its name from the start, complete after every tensor's `write`.

    Its header also tells the SHA-256 of each tensor, so that damage can be named.

    Args:
        path: a file that does not exist.
        infos: its tensors; wider dtypes come first, so that each is aligned.
    """

    def __init__(self, path: Path, infos: Iterable[TensorInfo]) -> None:
        ordered = sorted(infos, key=lambda info: -info.dtype.itemsize)
        self._entries: dict[str, object] = {}
        starts, end = {}, 0
        for info in ordered:
            starts[info.name], end = end, end + n_bytes(info)
            offsets = {"shape": info.shape, "data_offsets": [starts[info.name], end]}
            self._entries[info.name] = {"dtype": _KINDS[info.dtype], **offsets}
        self._digests = {info.name: _NO_DIGEST for info in ordered}
        header = self._header()
        self._starts = {name: len(header) + start for name, start in starts.items()}
        self._file = path.open("xb", buffering=0)
        self._file.write(header)
        self._file.truncate(len(header) + end)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor of the announced shape and dtype to its place, from any thread."""
        data = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        self._digests[name] = hashlib.sha256(data).hexdigest()
        self._write_at(self._starts[name], data)

    def close(self) -> None:
        """Complete the header and close the file."""
        with self._file:
            self._write_at(0, memoryview(self._header()))

    def _write_at(self, at: int, left: memoryview) -> None:
        while left:
            n_written = os.pwrite(self._file.fileno(), left, at)
            left, at = left[n_written:], at + n_written

    def _header(self) -> bytes:
        """The bytes before the data: as many before the digests are known as after."""
        metadata = {"format": "pt", DIGESTS: json.dumps(self._digests, separators=(",", ":"))}
        header = json.dumps({"__metadata__": metadata, **self._entries}, separators=(",", ":"))
        padded = header.encode() + b" " * (-len(header) % _ALIGNMENT)
        return len(padded).to_bytes(8, "little") + padded


def n_bytes(info: TensorInfo) -> int:
    """The bytes of a tensor's data."""
    return math.prod(info.shape) * info.dtype.itemsize


def in_threads(
    tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
    consume: Callable[[str, Tensor], None],
) -> None:
    """Give every tensor to `consume`, in threads, with a few tensors in memory at most.

    An iterable is advanced in this thread alone; the values of a mapping are looked up in the
    threads, so that one which computes them does so in parallel. The first error is raised, after
    which nothing more is started.
    """
    running: deque[Future[None]] = deque()
    give_back = _free_memory_giver()

    def look_up(name: str, mapping: Mapping[str, Tensor]) -> None:
        consume(name, mapping[name])

    with ThreadPoolExecutor(_N_THREADS) as pool:

        def start(job: Callable[..., None], *arguments: object) -> None:
            if len(running) == _N_IN_FLIGHT:
                running.popleft().result()
                give_back()
            running.append(pool.submit(job, *arguments))

        if isinstance(tensors, Mapping):
            for name in tensors:
                start(look_up, name, tensors)
        else:
            for name, tensor in tensors:
                start(consume, name, tensor)
        while running:
            running.popleft().result()


def _free_memory_giver() -> Callable[[], object]:
    """What makes the C library return freed memory to the system, where it knows how.

    glibc before 2.38 does not use freed aligned blocks, such as tensors, again
    (https://sourceware.org/bugzilla/show_bug.cgi?id=14581): a stream of them would pile up.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return partial(trim, 0) if trim else lambda: None
