"""A fitted estimator as a plain file: parameters, their errors, prior, validation, provenance."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evomerge.errors import CalibrationError
from evomerge.irt.adaptive import Adaptive, Validation, flag_items
from evomerge.irt.estimator import FloatArray, OnTask
from evomerge.irt.files import write_whole
from evomerge.irt.fitting import N_TRAITS
from evomerge.irt.models import MODELS, AnswerModel
from evomerge.irt.precision import parameter_errors
from evomerge.irt.traits import Traits
from evomerge.irt.validate import Trial, choose_estimator

FORMAT = "evomerge item bank 3"

IN_A_RUN = (MODELS[f"traits-{N_TRAITS}"],)
"""The one that takes no time to speak of, for banks that a run fits itself."""


@dataclass(frozen=True, eq=False)
class TraitBank:
    """The items of one task and how to estimate from them.

    Attributes:
        task: whose items these are.
        items: `(J,)` document ids, ascending.
        estimator: fitted to them; its `barred` items are the flagged ones.
        errors: `(J, D + 1)` standard errors of slopes and intercept; one column more with lower
            asymptotes.
        flags: what is wrong with an item, by place; the others are in order.
        provenance: what it was fitted to, such as the task's fingerprint and the models' digests.
        model: name of the model of answers that was chosen.
        trials: how all that were compared did in cross-validation.
    """

    task: str
    items: tuple[int, ...]
    estimator: Adaptive
    errors: FloatArray
    flags: Mapping[int, str]
    n_models: int
    provenance: Mapping[str, str]
    model: str
    trials: tuple[Trial, ...]

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
            "model": self.model,
            "comparison": [asdict(trial) for trial in self.trials],
            "validation": [asdict(row) for row in self.estimator.validation],
            "items": list(self.items),
            "slopes": traits.slopes.tolist(),
            "intercepts": traits.intercepts.tolist(),
            "guessing": None if traits.guessing is None else traits.guessing.tolist(),
            "errors": self.errors.tolist(),
            "flags": {str(place): flag for place, flag in self.flags.items()},
            "nodes": np.asarray(traits.nodes, dtype=float).round(8).tolist(),
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
        items, traits = tuple(map(int, data["items"])), _traits_from(data)
        errors = np.array(data["errors"], float)
        n_parameters = traits.slopes.shape[1] + (1 if traits.guessing is None else 2)
        shapes = (len(traits.slopes), errors.shape)
        if shapes != (len(items), (len(items), n_parameters)) or list(items) != sorted(set(items)):
            raise ValueError(f"{len(items)} items with parameters of shapes {shapes}")
        if not np.isfinite(errors).all():
            raise ValueError("an error of a parameter is not finite")
        flags = {int(place): str(flag) for place, flag in data["flags"].items()}
        validation = tuple(Validation(**row) for row in data["validation"])
        return cls(
            str(data["task"]),
            items,
            Adaptive(traits, validation, tuple(sorted(flags))),
            errors,
            flags,
            int(data["n_models"]),
            dict(data["provenance"]),
            str(data["model"]),
            tuple(_trial_from(trial) for trial in data["comparison"]),
        )

    def write(self, path: Path) -> None:
        """Keep the bank as a JSON file, whole or not at all.

        Raises:
            InfrastructureError: the disk refuses.
        """
        write_whole(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def _traits_from(data: Mapping[str, Any]) -> Traits:
    names = ("slopes", "intercepts", "log_prior")
    slopes, intercepts, log_prior = (np.array(data[name], float) for name in names)
    guessing = None if data["guessing"] is None else np.array(data["guessing"], float)
    per_item = [intercepts] if guessing is None else [intercepts, guessing]
    if any(array.shape != slopes.shape[:1] for array in per_item) or slopes.ndim != 2:
        raise ValueError(f"slopes of shape {slopes.shape}, intercepts of {intercepts.shape}")
    if not all(np.isfinite(array).all() for array in (slopes, log_prior, *per_item)):
        raise ValueError("a parameter is not finite")
    nodes = np.array(data["nodes"], np.float32)
    if nodes.shape != (len(log_prior), slopes.shape[1]) or not np.isfinite(nodes).all():
        raise ValueError(f"nodes of shape {nodes.shape}")
    return Traits(slopes, intercepts, nodes, log_prior, guessing)


def _trial_from(data: Mapping[str, Any]) -> Trial:
    return Trial(**{**data, "errors": {int(n): float(e) for n, e in data["errors"].items()}})


def fit_trait_bank(
    task: str,
    items: tuple[int, ...],
    responses: ArrayLike,
    provenance: Mapping[str, str],
    *,
    models: Sequence[AnswerModel] = IN_A_RUN,
    seed: int = 0,
    on_fit: Callable[[str], None] = lambda _: None,
) -> TraitBank:
    """The bank of a task's items from models `(n_models, J)` that answered all of them.

    Args:
        models: the models of answers to choose from, the simpler first.
        seed: of the folds and the items of the cross-validation.
        on_fit: hears the name of each model of answers before each of its fits.

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
    chosen = choose_estimator(responses, models, barred=sorted(flags), seed=seed, on_fit=on_fit)
    errors = parameter_errors(chosen.estimator.traits, responses)
    return TraitBank(
        task,
        items,
        chosen.estimator,
        errors,
        flags,
        shape[0],
        dict(provenance),
        chosen.model,
        chosen.trials,
    )


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
