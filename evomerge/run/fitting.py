"""Item banks from response matrices, written beside the matrices that they come from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evomerge import __version__
from evomerge.errors import CalibrationError, ScoringError
from evomerge.irt.files import write_whole
from evomerge.irt.models import AnswerModel
from evomerge.irt.responses import Responses, write_responses
from evomerge.irt.trait_bank import TraitBank, fit_trait_bank
from evomerge.run.banks import REFUSAL_SUFFIX, SUFFIX

RESPONSES_SUFFIX = ".responses.csv"
"""What the file of a task's response matrix is called after the task."""

Note = Callable[[str], None]
Found = Mapping[str, Responses | CalibrationError]
"""The response matrix of each task, or why there is none."""


@dataclass(frozen=True)
class Choice:
    """The models of answers to choose from, and the seed of their cross-validation."""

    models: Sequence[AnswerModel]
    seed: int


def provenance_of(
    items: Mapping[str, str], fingerprints: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """What a bank of each task is about, apart from the responses; `items` by `items:<task>`."""
    models = {name: own for name, own in fingerprints.items() if name.startswith("model:")}
    versions = {"evomerge": __version__, **{name: version(name) for name in ("mirt", "numpy")}}
    return {
        name.removeprefix("items:"): {"fingerprint": digest, **models, **versions}
        for name, digest in items.items()
    }


def write_banks(
    folder: Path,
    found: Found,
    provenance: Mapping[str, Mapping[str, str]],
    choice: Choice,
    note: Note,
) -> dict[str, Any]:
    """Write a bank of each task that allows one, and its matrix; what came out, as JSON values.

    Of a task that allows none a file says why, so that runs with the other banks know.

    Args:
        note: is told of every fit.

    Raises:
        CalibrationError: no task allows one, with the reasons.
        InfrastructureError: a file cannot be written.
    """
    rows, skipped = [], {}
    for task, responses in found.items():
        try:
            bank = _fit(folder, task, responses, provenance[task], choice, note)
        except ScoringError as error:
            skipped[task] = str(error)
        else:
            bank.write(folder / f"{task}{SUFFIX}")
            rows.append(_row(bank, folder))
    if not rows:
        raise CalibrationError(
            "; ".join(f"no bank for {task}: {why}" for task, why in skipped.items())
        )
    for task, why in skipped.items():
        write_whole(folder / f"{task}{REFUSAL_SUFFIX}", f"{why}\n")
    return {"folder": str(folder.resolve()), "banks": rows, "skipped": skipped}


def _fit(
    folder: Path,
    task: str,
    responses: Responses | CalibrationError,
    provenance: Mapping[str, str],
    choice: Choice,
    note: Note,
) -> TraitBank:
    if isinstance(responses, CalibrationError):
        raise responses
    path = folder / f"{task}{RESPONSES_SUFFIX}"
    write_responses(responses, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return fit_trait_bank(
        task,
        responses.items,
        responses.matrix,
        {**provenance, "responses": path.name, "responses_sha256": digest},
        models=choice.models,
        seed=choice.seed,
        on_fit=lambda name: note(f"{task}: fitting {name}"),
    )


def _row(bank: TraitBank, folder: Path) -> dict[str, Any]:
    estimator = bank.estimator
    flagged: dict[str, list[int]] = {"no_variance": [], "negative": []}
    for place, flag in bank.flags.items():
        flagged[flag].append(bank.items[place])
    return {
        "task": bank.task,
        "bank": str(folder / f"{bank.task}{SUFFIX}"),
        "responses": str(folder / f"{bank.task}{RESPONSES_SUFFIX}"),
        "n_models": bank.n_models,
        "n_items": len(bank.items),
        "flagged": flagged,
        "model": bank.model,
        "errors": {
            str(row.n): {
                "bank": row.error,
                "mean": row.mean_error,
                "difference": row.difference_error,
            }
            for row in estimator.validation
        },
        "way": estimator.way,
        "trusts_model": estimator.trusts_model,
        "doubt": estimator.doubt,
    }
