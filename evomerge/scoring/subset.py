"""The random subsets of a task's items that a search scores."""

import hashlib

import numpy as np


def choose_items(n_items: int, n: int, seed: int, task_name: str) -> tuple[int, ...]:
    """The indices of `n` of a task's `n_items` items, sorted, drawn without replacement.

    The draw depends on nothing but its arguments. All items where `n` is not below `n_items`.
    """
    if n >= n_items:
        return tuple(range(n_items))
    rng = np.random.default_rng([seed, _number(task_name)])
    return tuple(sorted(rng.choice(n_items, size=n, replace=False).tolist()))


def shuffle_items(
    items: tuple[int, ...], seed: int, task_name: str, generation: int
) -> tuple[int, ...]:
    """The items in a random order that depends on nothing but these arguments."""
    rng = np.random.default_rng([seed, _number(task_name), generation])
    return tuple(rng.permutation(items).tolist())


def _number(name: str) -> int:
    """A digest, because Python's own hash of a string changes from process to process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
