"""The calibrated items of one task: a plain value that the journal keeps and anyone can read."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.curves import Curves

ItemFlag = Literal["ok", "no_variance", "weak"]
"""`no_variance`: all models agreed. `weak`: the item does not tell able models from others."""


@dataclass(frozen=True)
class ItemBank:
    """Every item of a task's search set with its two-parameter logistic curve.

    P(right | θ) = σ(a θ + d), slope-intercept form; the difficulty is b = −d / a. The ability θ has
    the prior N(ability_mean, ability_sd²).

    Attributes:
        task: whose items these are.
        items: `(J,)` document ids, ascending, the whole search set.
        discrimination: `(J,)` a, zero for an item without variance.
        intercept: `(J,)` d, in logits.
        flags: `(J,)` what is wrong with an item, or `ok`.
        n_models: how many models it was calibrated on.

    Raises:
        CalibrationError: these lists do not describe a bank.
    """

    task: str
    items: tuple[int, ...]
    discrimination: tuple[float, ...]
    intercept: tuple[float, ...]
    flags: tuple[ItemFlag, ...]
    n_models: int
    ability_mean: float = 0.0
    ability_sd: float = 1.0

    def __post_init__(self) -> None:
        lengths = [len(self.items), len(self.discrimination), len(self.intercept), len(self.flags)]
        if len(set(lengths)) > 1 or not self.items:
            self._refuse(
                f"{lengths} items, discriminations, intercepts and flags",
                "equally many, at least 1",
            )
        if list(self.items) != sorted(set(self.items)):
            self._refuse("items that are not ascending or come twice", "ascending document ids")
        numbers = (*self.discrimination, *self.intercept, self.ability_mean, self.ability_sd)
        if not all(map(math.isfinite, numbers)) or self.ability_sd <= 0.0:
            self._refuse("a parameter that is not finite or no spread of abilities", "numbers")
        if not set(self.flags) <= set(get_args(ItemFlag)):
            self._refuse(f"flags {sorted(set(self.flags))}", f"some of {get_args(ItemFlag)}")

    def _refuse(self, found: str, expected: str) -> None:
        raise CalibrationError(
            f"the item bank of task {self.task} has {found}, expected {expected}; "
            "calibrate the task again"
        )

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the bank's canonical JSON, in hexadecimal."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def curves(self) -> Curves:
        """The items' curves on the grid of abilities."""
        slopes, intercepts = np.array(self.discrimination), np.array(self.intercept)
        return Curves.of(slopes, intercepts, self.ability_mean, self.ability_sd)

    @cached_property
    def _places(self) -> Mapping[int, int]:
        return {item: place for place, item in enumerate(self.items)}

    def places(self, items: Sequence[int]) -> NDArray[np.intp]:
        """Where these items stand in the bank, `(n,)`.

        Raises:
            ScoringError: an item is not in the bank, or comes twice.
        """
        unknown = sorted(set(items) - self._places.keys())
        if unknown:
            raise ScoringError(
                f"task {self.task} was scored on items {unknown}, which its bank of "
                f"{len(self.items)} items does not have; score items of the search set that was "
                "calibrated"
            )
        if len(set(items)) < len(items):
            raise ScoringError(
                f"task {self.task} was scored on {len(items)} items, of which only "
                f"{len(set(items))} differ; give every item once"
            )
        return np.array([self._places[item] for item in items], dtype=np.intp)

    def to_json(self) -> dict[str, Any]:
        """The bank as plain JSON values; `from_json` gives back an equal bank, bit for bit."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ItemBank":
        """The bank that `to_json` wrote down.

        Raises:
            CalibrationError: it is not such a record.
        """
        try:
            return cls(
                task=str(data["task"]),
                items=tuple(map(int, data["items"])),
                discrimination=tuple(map(float, data["discrimination"])),
                intercept=tuple(map(float, data["intercept"])),
                flags=tuple(data["flags"]),
                n_models=int(data["n_models"]),
                ability_mean=float(data["ability_mean"]),
                ability_sd=float(data["ability_sd"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(
                f"an item bank cannot be read ({type(error).__name__}: {error}), expected the "
                "fields that a calibration writes; calibrate the task again"
            ) from error
