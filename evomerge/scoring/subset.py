"""The fixed random subset of a task's items that a search scores."""

import hashlib

import numpy as np


def choose_items(n_items: int, n: int, seed: int, task_name: str) -> tuple[int, ...]:
    """The indices of `n` of a task's `n_items` items, sorted, drawn without replacement.

    The draw depends on nothing but its arguments. All items where `n` is not below `n_items`.
    """
    if n >= n_items:
        return tuple(range(n_items))
    # A digest, because Python's own hash of a string changes from process to process.
    name = int.from_bytes(hashlib.sha256(task_name.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, name])
    return tuple(sorted(rng.choice(n_items, size=n, replace=False).tolist()))
