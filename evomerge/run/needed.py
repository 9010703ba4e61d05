"""Which statistics of text an experiment needs, what they are known by, and where they lie."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evomerge.config.experiment import Experiment
from evomerge.errors import UsageError
from evomerge.merge.methods import find_method
from evomerge.merge.statistics import BASE, OF_BASE, Kind
from evomerge.run.choosing import named_methods
from evomerge.run.places import default_statistics_dir

_PREFIX = "statistics"
_VERSION = 1
"""Of how statistics are collected: those of another are not found."""


@dataclass(frozen=True)
class Needed:
    """A statistic that some merge of an experiment needs.

    Args:
        kind: what it is.
        model: the expert that it is about, or `base`.
        digest: of all that it depends on: models, text, settings.
        path: the file that it is in, once it has been collected.
    """

    kind: Kind
    model: str
    digest: str
    path: Path

    @property
    def name(self) -> str:
        """What a human calls it."""
        return f"{self.kind} of {self.model}"


def needed_kinds(experiment: Experiment) -> dict[Kind, str]:
    """The kinds of statistics that the experiment's methods need, each with one that does.

    Raises:
        UsageError: a method is not known.
    """
    kinds: dict[Kind, str] = {}
    for _, name in named_methods(experiment.merge.method):
        for kind in find_method(name).statistics:
            kinds.setdefault(kind, name)
    return kinds


def all_models(experiment: Experiment) -> tuple[str, ...]:
    """The names of the models of which there may be statistics."""
    return (BASE, *experiment.experts)


def models_of(kind: Kind, experiment: Experiment) -> tuple[str, ...]:
    """The models of which statistics of a kind are needed, where its method is used."""
    return (BASE,) if kind in OF_BASE else tuple(experiment.experts)


def needed_models(experiment: Experiment) -> Iterator[tuple[Kind, str]]:
    """Each kind of statistics that is needed, with each model that it is needed of."""
    for kind in needed_kinds(experiment):
        yield from ((kind, model) for model in models_of(kind, experiment))


def statistics_digests(
    experiment: Experiment, dtype: str, models: Mapping[str, str]
) -> dict[str, str]:
    """The digest of each statistic that is needed, by `statistics:<kind>:<model>`.

    Args:
        experiment: the experiment.
        dtype: the dtype that forward passes compute in.
        models: the models' fingerprints, by `model:<name>`.

    Raises:
        UsageError: a text is not named or cannot be read.
    """
    return {
        f"{_PREFIX}:{kind}:{model}": _digest(experiment, dtype, models, kind, model)
        for kind, model in needed_models(experiment)
    }


def needed(experiment: Experiment, fingerprints: Mapping[str, str]) -> list[Needed]:
    """The statistics that are needed, by the digests among a plan's fingerprints."""
    folder = experiment.merge.statistics.folder or default_statistics_dir()
    found = []
    for kind, model in needed_models(experiment):
        digest = fingerprints[f"{_PREFIX}:{kind}:{model}"]
        found.append(Needed(kind, model, digest, folder / f"{kind}-{digest[:32]}.safetensors"))
    return found


def statistics_paths(
    experiment: Experiment, fingerprints: Mapping[str, str]
) -> dict[Kind, dict[str, Path]]:
    """The file of each statistic that is needed, by its kind and model."""
    paths: dict[Kind, dict[str, Path]] = {}
    for statistic in needed(experiment, fingerprints):
        paths.setdefault(statistic.kind, {})[statistic.model] = statistic.path
    return paths


def _digest(
    experiment: Experiment, dtype: str, models: Mapping[str, str], kind: Kind, model: str
) -> str:
    settings = experiment.merge.statistics
    parts: dict[str, object] = {
        "version": _VERSION,
        "kind": kind,
        "base": models[f"model:{BASE}"],  # its tokenizer, and what an adapter is on top of
        "model": models[f"model:{model}"],
        "text": _text_digest(experiment, model),
        "n_sequences": settings.n_sequences,
        "sequence_length": settings.sequence_length,
        "tokenizer": experiment.merge.tokenizer,
        "dtype": dtype,
    }
    if kind == "fisher":
        parts["labels"] = settings.labels
        parts["seed"] = experiment.seed if settings.labels == "sampled" else None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _text_digest(experiment: Experiment, model: str) -> str:
    path = experiment.merge.statistics.texts.get(model)
    if path is None:
        raise UsageError(
            f"there is no text of {model}, expected one as merge.statistics.texts.{model}; "
            "name a file of plain text or JSONL"
        )
    try:
        with path.open("rb") as file:
            # The suffix says how the file is read.
            return f"{path.suffix == '.jsonl'}:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise UsageError(
            f"cannot read the text of {model}, {path}: {error.strerror}; name another as "
            f"merge.statistics.texts.{model}"
        ) from error
