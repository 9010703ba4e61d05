"""`prepare`: collect the statistics of text that an experiment's methods need, each once."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.statistics import open_statistics, write_statistics
from evomerge.checkpoint.vocabulary_alignment import align
from evomerge.config.experiment import Experiment
from evomerge.errors import ModelError
from evomerge.merge.statistics import BASE, Kind
from evomerge.records import NO_CODE, Permissions
from evomerge.run.build import computing_dtype, fingerprint_models
from evomerge.run.needed import Needed, needed, statistics_digests
from evomerge.run.validate import load_experiment
from evomerge.scoring.resident import DTYPES, ResidentModel
from evomerge.scoring.statistics import collect_activations, collect_fisher, collect_grams
from evomerge.scoring.texts import read_sequences


def prepare_experiment(
    config: Path, overrides: Sequence[str], permissions: Permissions = NO_CODE
) -> list[dict[str, Any]]:
    """Collect what is missing of an experiment's statistics; a row of JSON values for each.

    Raises:
        ConfigError: the experiment cannot be run as written, with every problem.
        UsageError: a text cannot be used.
        ModelError: a model cannot be read.
        InfrastructureError: the statistics cannot be written.
    """
    experiment = load_experiment(config, overrides, permissions)
    dtype = computing_dtype(experiment)
    digests = statistics_digests(experiment, dtype, fingerprint_models(experiment))
    wanted = needed(experiment, digests)
    seconds = {
        statistic.path: time_s
        for statistic, time_s in collect_statistics(experiment, dtype, wanted)
    }
    return [
        {
            "kind": statistic.kind,
            "model": statistic.model,
            "path": str(statistic.path),
            "seconds": seconds.get(statistic.path),
        }
        for statistic in wanted
    ]


def print_preparation(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each statistic."""
    for row in rows:
        found = row["seconds"] is None
        how = "found" if found else f"collected in {row['seconds']:.1f} s"
        print(f"{row['kind']} of {row['model']}: {how}, {row['path']}")
    if not rows:
        print("the methods of this experiment need no statistics")


def collect_statistics(
    experiment: Experiment, dtype: str, wanted: Sequence[Needed]
) -> Iterator[tuple[Needed, float]]:
    """Collect those that are not there yet, one by one; yields each with the seconds it took.

    One model is held in memory, into which each expert's weights are written in turn.

    Raises:
        UsageError: a text cannot be used.
        ModelError: a model cannot be read.
        InfrastructureError: the statistics cannot be written.
    """
    missing = [statistic for statistic in wanted if not _is_there(statistic)]
    if not missing:
        return
    torch.set_num_threads(experiment.scoring.threads)
    model = ResidentModel.from_folder(experiment.base, dtype=DTYPES[dtype])
    for statistic in missing:
        start = time.monotonic()
        _become(model, experiment, statistic.model)
        write_statistics(_collected(model, experiment, statistic), statistic.path)
        yield statistic, time.monotonic() - start


def _is_there(statistic: Needed) -> bool:
    """Whether its file is there and whole; a damaged one is written anew."""
    try:
        open_statistics(statistic.path, statistic.name)
    except ModelError:
        return False
    return True


@torch.no_grad()
def _become(model: ResidentModel, experiment: Experiment, name: str) -> None:
    """Write the weights of the base or of an expert into the live model."""
    base = open_checkpoint(experiment.base)
    experts = {} if name == BASE else {name: open_model(experiment.experts[name], base)}
    aligned = align(base, experts, tokenizer=experiment.merge.tokenizer)
    source = aligned.experts.get(name, aligned.base)
    for tensor, live in model.tensors.items():
        live.copy_(source.read(tensor))


def _collected(
    model: ResidentModel, experiment: Experiment, statistic: Needed
) -> dict[str, Tensor]:
    settings = experiment.merge.statistics
    sequences = read_sequences(
        settings.texts[statistic.model],
        model.tokenizer,
        n_sequences=settings.n_sequences,
        length=settings.sequence_length,
    )
    batch_size = experiment.scoring.batch_size
    kind: Kind = statistic.kind
    if kind == "grams":
        return collect_grams(model, sequences, batch_size=batch_size)
    if kind == "activations":
        return collect_activations(model, sequences, batch_size=batch_size)
    return collect_fisher(model, sequences, labels=settings.labels, seed=experiment.seed)
