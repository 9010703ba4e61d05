"""The long parts of events as short JSON values and back, exact to the last bit.

Each value is packed by itself, so that an event can be read without any other.
"""

import base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from evomerge.records import GroupRecipe, ParameterValue, Recipe

Json = dict[str, Any]

LONGEST_GAP = 24
"""Ids further apart than this on average are shorter as a list: a bitmap takes 1/6 letter a bit."""
_VALUES = {"0": 0.0, "1": 1.0}


def pack_flags(flags: Iterable[bool]) -> str:
    """Flags as base64 text of a number whose binary digits are a one and then the flags."""
    digits = "".join("1" if flag else "0" for flag in flags)
    number = int("1" + digits, 2)
    return base64.b64encode(number.to_bytes(len(digits) // 8 + 1, "big")).decode()


def unpack_flags(text: str) -> str:
    """The digits 0 and 1 of the flags that `pack_flags` wrote.

    Raises:
        ValueError: it did not write this.
    """
    number = int.from_bytes(base64.b64decode(text, validate=True), "big")
    if number == 0:
        raise ValueError(f"{text!r} holds no flags, not even that there are none")
    return f"{number:b}"[1:]


@lru_cache(maxsize=64)
def pack_ids(ids: tuple[int, ...]) -> str | tuple[int, ...]:
    """Ids of documents: one flag for each document up to the last where that is shorter."""
    ascending = all(a < b for a, b in pairwise(ids))
    if not ids or not ascending or ids[0] < 0 or ids[-1] > LONGEST_GAP * len(ids):
        return ids
    chosen = set(ids)
    return pack_flags(number in chosen for number in range(ids[-1] + 1))


def unpack_ids(packed: str | list[int]) -> tuple[int, ...]:
    """The ids that `pack_ids` packed; equal ones are one tuple, as a run scores the same items.

    Raises:
        TypeError, ValueError: it did not pack this.
    """
    return _ids_of(packed) if isinstance(packed, str) else _shared(_as_tuple(packed))


def pack_values(values: Sequence[float]) -> str | Sequence[float]:
    """Results of items: one flag for each where all are 0.0 or 1.0, as an accuracy's are."""
    # By their text: -0.0, 0 and False are equal to 0.0 and not the same.
    if values and set(map(repr, values)) <= {"0.0", "1.0"}:
        return pack_flags(value == 1.0 for value in values)
    return values


def unpack_values(packed: str | list[float]) -> tuple[float, ...]:
    """The values that `pack_values` packed.

    Raises:
        TypeError, ValueError: it did not pack this.
    """
    if isinstance(packed, str):
        return tuple(map(_VALUES.__getitem__, unpack_flags(packed)))
    return _as_tuple(packed)


def pack_recipe(recipe: Recipe) -> Json:
    """A recipe in which groups of one method name it and its parameters once, under `kinds`."""
    kinds: dict[tuple[str, ...], int] = {}
    groups = {}
    for name, group in recipe.groups.items():
        kind = kinds.setdefault((group.method, *group.values), len(kinds))
        groups[name] = [kind, *group.values.values()]
    return {
        "experts": recipe.experts,
        "kinds": list(kinds),
        "groups": groups,
        "seed": recipe.seed,
    }


def unpack_recipe(packed: Json) -> Recipe:
    """The recipe that `pack_recipe` packed.

    Raises:
        LookupError, TypeError, ValueError: it did not pack this.
    """
    groups = {}
    for name, (kind, *values) in packed["groups"].items():
        method, *parameters = packed["kinds"][kind]
        groups[name] = GroupRecipe(
            method, dict(zip(parameters, map(_parameter_value, values), strict=True))
        )
    return Recipe(tuple(packed["experts"]), groups, packed["seed"])


def _parameter_value(value: float | list[float]) -> ParameterValue:
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=64)
def _ids_of(text: str) -> tuple[int, ...]:
    return tuple(number for number, flag in enumerate(unpack_flags(text)) if flag == "1")


@lru_cache(maxsize=64)
def _shared(ids: tuple[int, ...]) -> tuple[int, ...]:
    return ids


def _as_tuple(packed: list[Any]) -> tuple[Any, ...]:
    if not isinstance(packed, list):
        raise TypeError(f"found {type(packed).__name__}, expected packed text or a list")
    return tuple(packed)
