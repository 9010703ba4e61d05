"""One worker: a resident model, the sources to merge into it, and the benchmarks to score it on."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from evomerge.checkpoint.adapter import open_model, open_stored
from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.statistics import open_statistics
from evomerge.checkpoint.vocabulary_alignment import align
from evomerge.errors import ModelError, NonFiniteError
from evomerge.merge.prepared import PreparedMerge
from evomerge.merge.statistics import Kind, Sources
from evomerge.records import ItemScores, Job, Recipe
from evomerge.scoring.resident import DTYPES, NonFiniteScore, ResidentModel
from evomerge.scoring.scorer import Mode
from evomerge.scoring.scorers import AnyBenchmark, Scorers
from evomerge.user_cache import user_cache
from evomerge.workers.asking import ask
from evomerge.workers.deadline import deadline
from evomerge.workers.references import Reference, References


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker is made from, as plain values that can travel.

    Args:
        base: folder of the base model.
        experts: folders of the experts by name, models or adapters.
        dtype: name of the dtype that forward passes compute in.
        threads: CPU threads of torch.
        batch_size: sequences per forward pass.
        mode: `packed`, or `exact` for lm-eval's own batches.
        timeout_s: seconds that one job may take; None for no limit.
        tokenizer: `base` to merge experts with other tokenizers by token string, else None.
        fingerprints: of the models, by `model:base` and `model:<expert>`, for workers that do not
            read the same files as the driver.
        statistics: files with statistics of text, by kind and model.
        references: the models that benchmarks compare with, by benchmark.
    """

    base: Path
    experts: Mapping[str, Path]
    dtype: str
    threads: int = 1
    batch_size: int = 64
    mode: Mode = "packed"
    timeout_s: float | None = None
    tokenizer: str | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[Kind, Mapping[str, Path]] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)


class Worker:
    """Evaluates one job at a time: an `Evaluator`.

    Args:
        benchmarks: every benchmark that a job may name.

    Raises:
        ModelError: the models cannot be opened or merged.
    """

    def __init__(self, spec: WorkerSpec, benchmarks: Mapping[str, AnyBenchmark]) -> None:
        torch.set_num_threads(spec.threads)
        self._spec = spec
        self._model = ResidentModel.from_folder(spec.base, dtype=DTYPES[spec.dtype])
        base = open_checkpoint(spec.base)
        experts = {name: open_model(path, base) for name, path in spec.experts.items()}
        aligned = align(base, experts, tokenizer=spec.tokenizer)
        statistics = open_all_statistics(spec.statistics)
        self._merge = PreparedMerge(
            aligned.base, aligned.experts, statistics, prepared=user_cache("factors")
        )
        self._scorers = Scorers(self._model, benchmarks, batch_size=spec.batch_size, mode=spec.mode)
        self._references = References(spec.references, self._scorers.divergences, self._become)
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, job: Job) -> ItemScores:
        """Merge the job's recipe into the resident model and score it on the job's items.

        Raises:
            DeadlineExceededError: it took longer than the spec allows.
            NonFiniteError: the merge or the scores hold NaN or infinity.
        """
        start = time.monotonic()
        try:
            with deadline(self._spec.timeout_s):
                self._references.prepare(job.items)
                self._become(job.recipe)
                scores = ask(self._scorers, job)
        except NonFiniteScore as error:
            raise NonFiniteError(str(error)) from error
        seconds = time.monotonic() - start
        return ItemScores(job.candidate_id, scores, job.phase, seconds, self.name)

    def reference(self, benchmark: str, items: Sequence[int]) -> Mapping[int, torch.Tensor]:
        """The logits of what a benchmark compares with, by item, those of these items among them.

        Raises:
            NonFiniteScore: they are NaN or infinite.
        """
        self._references.prepare({benchmark: items})
        return self._scorers.divergences[benchmark].reference

    def _become(self, recipe: Recipe) -> None:
        self._merge.materialise(recipe, self._model.tensors)


def open_all_statistics(paths: Mapping[Kind, Mapping[str, Path]]) -> Sources:
    """The statistics in these files, mapped.

    Raises:
        ModelError: a file is missing or damaged.
    """
    return {
        kind: {model: open_statistics(path, f"{kind} of {model}") for model, path in files.items()}
        for kind, files in paths.items()
    }


def require_models(spec: WorkerSpec) -> None:
    """Make sure that the models on this machine are those whose fingerprints the spec holds.

    Raises:
        ModelError: one is missing or differs; the message names it and the machine.
    """
    for name, folder in {"base": spec.base, **spec.experts}.items():
        expected = spec.fingerprints.get(f"model:{name}")
        if expected is not None and fingerprint(open_stored(folder)) != expected:
            raise ModelError(
                f"the model {name} in {folder} on {socket.gethostname()} is not the one that the "
                "run started with; copy the driver's files there, or use a folder that all nodes "
                "share"
            )
