"""A fitted estimator as a plain file: parameters, their errors, prior, validation, provenance."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evomerge.errors import CalibrationError
from evomerge.irt.adaptive import Adaptive, Validation, fit_adaptive, flag_items
from evomerge.irt.estimator import FloatArray, OnTask
from evomerge.irt.precision import parameter_errors
from evomerge.irt.traits import Traits, normal_nodes

FORMAT = "evomerge item bank 2"


@dataclass(frozen=True, eq=False)
class TraitBank:
    """The items of one task and how to estimate from them.

    Attributes:
        task: whose items these are.
        items: `(J,)` document ids, ascending.
        estimator: fitted to them; its `barred` items are the flagged ones.
        errors: `(J, D + 1)` standard errors of slopes and intercept.
        flags: what is wrong with an item, by place; the others are in order.
        provenance: what it was fitted to, such as the task's fingerprint and the models' digests.
    """

    task: str
    items: tuple[int, ...]
    estimator: Adaptive
    errors: FloatArray
    flags: Mapping[int, str]
    n_models: int
    provenance: Mapping[str, str]

    @property
    def on_task(self) -> OnTask:
        """The estimator for document ids."""
        return OnTask(self.task, self.items, self.estimator)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the bank's canonical JSON, in hexadecimal."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def require(self, fingerprint: str) -> None:
        """Make sure that the bank was fitted to the items of this task's content.

        Raises:
            CalibrationError: its provenance names another fingerprint.
        """
        if (own := self.provenance.get("fingerprint", "")) != fingerprint:
            raise CalibrationError(
                f"the item bank of task {self.task} was fitted to items with fingerprint "
                f"{own[:12] or 'unknown'}, expected {fingerprint[:12]}; the task has changed, "
                "calibrate it again"
            )

    def to_json(self) -> dict[str, Any]:
        """The bank as plain JSON values; `from_json` gives back one that estimates the same."""
        traits = self.estimator.traits
        return {
            "format": FORMAT,
            "task": self.task,
            "n_models": self.n_models,
            "provenance": dict(self.provenance),
            "validation": [asdict(row) for row in self.estimator.validation],
            "items": list(self.items),
            "slopes": traits.slopes.tolist(),
            "intercepts": traits.intercepts.tolist(),
            "errors": self.errors.tolist(),
            "flags": {str(place): flag for place, flag in self.flags.items()},
            "log_prior": traits.log_prior.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TraitBank":
        """The bank that `to_json` wrote down.

        Raises:
            CalibrationError: it is not such a record.
        """
        try:
            return cls._read(data)
        except (LookupError, TypeError, ValueError) as error:
            raise CalibrationError(
                f"an item bank cannot be read ({type(error).__name__}: {error}), expected what "
                f"{FORMAT!r} stands for; calibrate the task again"
            ) from error

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> "TraitBank":
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}")
        items = tuple(map(int, data["items"]))
        slopes, intercepts = np.array(data["slopes"], float), np.array(data["intercepts"], float)
        errors, log_prior = np.array(data["errors"], float), np.array(data["log_prior"], float)
        shapes = (slopes.shape[:1], intercepts.shape, errors.shape)
        expected = ((len(items),), (len(items),), (len(items), slopes.shape[1] + 1))
        if shapes != expected or list(items) != sorted(set(items)):
            raise ValueError(f"{len(items)} items with parameters of shapes {shapes}")
        if not all(np.isfinite(array).all() for array in (slopes, intercepts, errors, log_prior)):
            raise ValueError("a parameter is not finite")
        flags = {int(place): str(flag) for place, flag in data["flags"].items()}
        validation = tuple(Validation(**row) for row in data["validation"])
        nodes = normal_nodes(len(log_prior), slopes.shape[1])
        estimator = Adaptive(
            Traits(slopes, intercepts, nodes, log_prior), validation, tuple(sorted(flags))
        )
        n_models, provenance = int(data["n_models"]), dict(data["provenance"])
        return cls(str(data["task"]), items, estimator, errors, flags, n_models, provenance)

    def write(self, path: Path) -> None:
        """Keep the bank as a JSON file."""
        path.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def fit_trait_bank(
    task: str,
    items: tuple[int, ...],
    responses: ArrayLike,
    provenance: Mapping[str, str],
) -> TraitBank:
    """The bank of a task's items from models `(n_models, J)` that answered all of them.

    Raises:
        CalibrationError: the columns are not the items, in ascending order.
        ScoringError: an entry is missing or not 0 or 1, or there are too few models.
    """
    shape = np.shape(responses)
    if len(shape) != 2 or shape[1] != len(items) or list(items) != sorted(set(items)):
        raise CalibrationError(
            f"the responses to task {task} have shape {shape} for {len(items)} items, expected "
            "one column for each item, in ascending order of their ids"
        )
    flagged = flag_items(responses)
    flags = {place: flag for flag, places in flagged.items() for place in places}
    estimator = fit_adaptive(responses, barred=sorted(flags))
    errors = parameter_errors(estimator.traits, responses)
    return TraitBank(task, items, estimator, errors, flags, shape[0], dict(provenance))


def read_trait_bank(path: Path) -> TraitBank:
    """The bank that `TraitBank.write` kept.

    Raises:
        CalibrationError: the file is missing or is not a bank.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CalibrationError(
            f"{path.name} cannot be read as an item bank ({error}); calibrate the task again"
        ) from error
    return TraitBank.from_json(data)
