"""Which items of a benchmark the search asks, which the selection after it, which the final test.

The three are disjoint by construction: one seeded random order of the items is cut into three.
Items of equal content fall on the same side of a cut, and items that are part of a test set of its
own are left out.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from evomerge.errors import ScoringError

FEWEST = 2
"""Items of a set: the standard error of a mean needs two."""


@dataclass(frozen=True)
class Wanted:
    """How many items are kept from the search: shares below 1 of all items, or from 2 on numbers.

    Args:
        test: for the final test; 0 where the test has items of its own.
        selection: for scoring the best again after the search.
    """

    test: float = 0.0
    selection: float = 0.0


@dataclass(frozen=True)
class ItemSets:
    """The items of one benchmark, by what they are for.

    Args:
        search: the pool that the search asks from, in the random order in which it does.
        selection: ascending; empty where none are wanted, or the benchmark is too small.
        test: likewise.
        notes: in words, where the sets are not what was wanted.
    """

    search: tuple[int, ...]
    selection: tuple[int, ...] = ()
    test: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=())


def split_items(
    name: str,
    contents: Sequence[str],
    wanted: Wanted,
    *,
    seed: int,
    barred: Collection[str] = frozenset(),
) -> ItemSets:
    """The three sets of a benchmark's items.

    Where an item falls depends on the seed, the benchmark's name and the contents alone: neither
    on the order of the items nor on other benchmarks.

    Args:
        name: the benchmark's.
        contents: a text for each item; items of equal texts are never in different sets.
        wanted: the sizes of selection and test.
        seed: of the random order.
        barred: contents of the items of all tests: the search and the selection do without them.

    Raises:
        ScoringError: fewer than two items are left to the search.
    """
    order = [item for item in _random_order(name, contents, seed) if contents[item] not in barred]
    n_test = _cut(order, contents, 0, _count(wanted.test, len(contents)))
    n_kept = _cut(order, contents, n_test, _count(wanted.selection, len(contents)))
    if len(order) - n_kept < FEWEST:
        raise ScoringError(
            f"of the {len(contents)} items of {name!r} {max(len(order) - n_kept, 0)} are left to "
            f"the search, beside {n_test} kept for the test, {n_kept - n_test} for the selection "
            f"and {len(contents) - len(order)} that are in a test set too; expected at least "
            f"{FEWEST}: lower scoring.held_out or scoring.selection, or give it more documents"
        )
    return ItemSets(
        search=tuple(order[n_kept:]),
        selection=tuple(sorted(order[n_test:n_kept])),
        test=tuple(sorted(order[:n_test])),
        notes=tuple(_notes(name, len(contents), wanted, n_barred=len(contents) - len(order))),
    )


def asking_order(
    pool: Sequence[int], generation: int, *, n_common: int, rotation: float
) -> tuple[int, ...]:
    """The pool in the order in which a generation asks it, its common items first.

    The common items are a window that slides over the pool and around its end: each generation
    exchanges a share `rotation` of its `n_common` items, the rest it has in common with the one
    before, so that candidates of neighbouring generations can be compared item by item. Over many
    generations no item is asked much more often than another.
    """
    n = min(n_common, len(pool))
    step = max(round(rotation * n), 1) if rotation > 0.0 else 0
    start = generation * step % len(pool)
    return (*pool[start:], *pool[:start])


def _random_order(name: str, contents: Sequence[str], seed: int) -> list[int]:
    """The items by a digest of their contents: Python's own hash differs between processes."""

    def key(item: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}/{name}/{contents[item]}".encode()).digest(), item

    return sorted(range(len(contents)), key=key)


def _count(wanted: float, n_items: int) -> int:
    """A share or a number as a number; none rather than a single one."""
    n = round(wanted * n_items) if wanted < 1.0 else int(wanted)
    return n if n >= FEWEST else 0


def _cut(order: Sequence[int], contents: Sequence[str], start: int, n: int) -> int:
    """The end of a set of `n` items from `start` on, later where it would divide equal items."""
    end = start + n
    while n and 0 < end < len(order) and contents[order[end - 1]] == contents[order[end]]:
        end += 1
    return end


def _notes(name: str, n_items: int, wanted: Wanted, *, n_barred: int) -> Iterator[str]:
    for share, use in ((wanted.test, "the final test"), (wanted.selection, "a selection")):
        if share > 0.0 and _count(share, n_items) == 0:
            yield f"{name} has {n_items} items, too few to keep {share:.0%} of them for {use}"
    if n_barred:
        yield (
            f"{n_barred} of {n_items} items of {name} are in a test set too; the search and the "
            "selection leave them out"
        )
