"""Random numbers that depend on what they are for, not on when or where they are drawn.

Entry i of the task vector of expert e on tensor t always gets hash(seed, e, t, i): the same for
every candidate, whatever the chunks and the threads. So two recipes that differ little
merge to models that differ little, and masks at a lower density are subsets of those at a higher.
"""

import hashlib

import torch
from torch import Tensor

N_VALUES = 1 << 24
"""Random bits are whole numbers in [0, N_VALUES): as many as float32 holds exactly."""


def stream_key(seed: int, expert: str, tensor: str) -> tuple[int, int]:
    """The key of a stream of random bits: two 32-bit integers, signed, from SHA-256."""
    digest = hashlib.sha256("\0".join((str(seed), expert, tensor)).encode()).digest()
    first = int.from_bytes(digest[:4], "little", signed=True)
    return first, int.from_bytes(digest[4:8], "little", signed=True)


def random_bits(key: tuple[int, int], start: int, n: int) -> Tensor:
    """Entries `start` to `start + n` of the stream of `key`.

    The index is hashed by triple32 of Wellons (https://nullprogram.com/blog/2018/07/31/), the first
    half of the key added before it and the second half mixed in after its first round. The
    arithmetic is modulo 2³²; a stream repeats after 2³² entries.

    Returns:
        `(n,)` float32, whole numbers uniform in [0, N_VALUES).
    """
    bits = torch.arange(n, dtype=torch.int32)
    bits += _signed(start + key[0])
    bits ^= _shifted(bits, 17)
    bits *= _signed(0xED5AD4BB)
    bits ^= key[1]
    bits ^= _shifted(bits, 11)
    bits *= _signed(0xAC4C1B51)
    bits ^= _shifted(bits, 15)
    bits *= _signed(0x31848BAB)
    bits ^= _shifted(bits, 14)
    return _shifted(bits, 8).float()


def _signed(number: int) -> int:
    """`number` modulo 2³² as the int32 of the same bits."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _shifted(bits: Tensor, n: int) -> Tensor:
    """Logical shift to the right: torch's own repeats the sign."""
    return (bits >> n) & ((1 << (32 - n)) - 1)
