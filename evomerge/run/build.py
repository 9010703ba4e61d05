"""Wire objects from an experiment: its plan, its worker, its search."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from evomerge.checkpoint.adapter import open_stored
from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.config.experiment import Experiment, Objective
from evomerge.errors import ModelError, ScoringError
from evomerge.merge.groups import layer_groups
from evomerge.records import NO_CODE, Measure, Permissions, TensorInfo, measure_key
from evomerge.run.banks import banked_measures, given_banks
from evomerge.run.dividing import divide
from evomerge.run.estimates import AGREEMENT
from evomerge.run.identity import reference_digest, versions
from evomerge.run.needed import statistics_digests, statistics_paths
from evomerge.run.plan import Plan
from evomerge.run.texts import load_texts, model_benchmarks, references
from evomerge.scoring.benchmark import TaskBenchmark, load_benchmarks
from evomerge.scoring.resident import load_tokenizer, resolve_dtype
from evomerge.scoring.scorers import AnyBenchmark
from evomerge.user_cache import user_cache
from evomerge.workers.references import Reference
from evomerge.workers.resources import WorkerResources
from evomerge.workers.worker import WorkerSpec

DEVICE = "cpu"


def load_experiment_tasks(
    experiment: Experiment, permissions: Permissions = NO_CODE
) -> dict[str, AnyBenchmark]:
    """What an experiment measures: tasks with all their requests built, texts, the model itself.

    Raises:
        ScoringError: a task cannot be loaded as wanted.
        UsageError: a text cannot be read or is too short.
        ModelError: the base's tokenizer is wanted and cannot be loaded.
    """
    objectives = experiment.objectives
    search = [(objective.task, objective) for objective in objectives if objective.task]
    test = [(objective.test, objective) for objective in objectives if objective.test]
    users: dict[str, list[Objective]] = {}
    for task, objective in (*search, *test):
        users.setdefault(task, []).append(objective)
    benchmarks: dict[str, AnyBenchmark] = {}
    for task, own in users.items():
        benchmarks |= load_benchmarks(
            [task],
            tasks_path=experiment.tasks_path,
            num_fewshot=own[0].num_fewshot,
            metrics={task: [objective.metric for objective in own]},
            permissions=permissions,
            chat=load_tokenizer(experiment.base) if own[0].chat_template else None,
        )
    return benchmarks | load_texts(experiment) | model_benchmarks(experiment)


def make_plan(experiment: Experiment, benchmarks: Mapping[str, AnyBenchmark]) -> Plan:
    """Settle everything that a run needs before its first candidate.

    Raises:
        ModelError: a model cannot be read.
        ScoringError: the base's dtype is none to compute in, a task has too few documents, an
            objective is measured otherwise in the test, or an item bank cannot be used.
        UsageError: a text cannot be read.
    """
    infos = open_checkpoint(experiment.base).infos()
    dtype = computing_dtype(experiment)
    division = divide(experiment, benchmarks)
    measures = measures_of(experiment, benchmarks)
    models = fingerprint_models(experiment)
    tasks = {f"task:{name}": benchmark.digest for name, benchmark in benchmarks.items()}
    items = item_digests(experiment, benchmarks)
    banks = {f"bank:{task}": bank.digest for task, bank in given_banks(experiment, items).items()}
    return Plan(
        experiment=experiment,
        groups=layer_groups(
            infos,
            granularity=experiment.merge.granularity,
            split_modules=experiment.merge.split_modules,
            routers=experiment.merge.routers,
        ),
        items=division.items,
        dtype=dtype,
        fingerprints=models | tasks | items | banks | statistics_digests(experiment, dtype, models),
        measures=measures,
        notes=(*division.notes, *_unmodelled(experiment, measures)),
    )


def item_digests(experiment: Experiment, benchmarks: Mapping[str, AnyBenchmark]) -> dict[str, str]:
    """A digest of what an item bank of each task would be about, by `items:<task>`."""
    return {
        f"items:{task}": benchmark.digest_of(key)
        for task, key in banked_measures(experiment).items()
        if isinstance(benchmark := benchmarks[task], TaskBenchmark)
    }


class Measured(Protocol):
    """What a plan must know of a benchmark of any kind."""

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How its item results add up, by measure key."""


def measures_of(experiment: Experiment, benchmarks: Mapping[str, Measured]) -> dict[str, Measure]:
    """How each objective adds up, by the key of its measure in the search.

    Raises:
        ScoringError: the test adds up in another way.
    """
    measures: dict[str, Measure] = {}
    for objective in experiment.objectives:
        names = (objective.benchmark("search"), objective.benchmark("test"))
        keys = [measure_key(name, objective.metric) for name in names]
        search, test = (benchmarks[n].measures[k] for n, k in zip(names, keys, strict=True))
        if test != search:
            raise ScoringError(
                f"objective {objective.title} is measured by {search} in the search, and by {test} "
                "in the test; name one `metric` that both tasks have"
            )
        measures[keys[0]] = search
    return measures


def _unmodelled(experiment: Experiment, measures: Mapping[str, Measure]) -> tuple[str, ...]:
    """In words, what `estimator: irt` has no response model of."""
    names = [
        objective.title
        for objective in experiment.objectives
        if objective.metric == AGREEMENT
        or not _is_right_or_wrong(
            measures[measure_key(objective.benchmark("search"), objective.metric)]
        )
    ]
    if experiment.scoring.estimator != "irt" or not names:
        return ()
    return (
        f"estimator: irt is for answers that are right or wrong; {', '.join(names)} is what the "
        "items scored add up to",
    )


def _is_right_or_wrong(measure: Measure) -> bool:
    return measure.is_share and measure.aggregation == "mean"


def fingerprint_models(experiment: Experiment) -> dict[str, str]:
    """A digest of the base and of each expert, as they lie on disk now, by `model:<name>`.

    Raises:
        ModelError: a model cannot be read.
    """
    folders = {"base": experiment.base, **experiment.experts}
    return {f"model:{name}": fingerprint(open_stored(path)) for name, path in folders.items()}


def require_unchanged(plan: Plan, found: Mapping[str, str]) -> None:
    """Make sure that the models (and tasks) found now are those that the run started with.

    Raises:
        ModelError: one differs; the message names it.
    """
    changed = sorted(name for name in found if plan.fingerprints.get(name) != found[name])
    if changed:
        raise ModelError(
            f"{', '.join(changed)} changed since the run started, so that its scores are not those "
            "of the models that are there now; restore what was there, or start a new run with "
            "--out"
        )


def worker_spec(plan: Plan, kept: Path | None = None) -> WorkerSpec:
    """What the workers of a run are made from.

    Args:
        plan: of the run.
        kept: folder of what is kept for other runs; the user's cache by default.
    """
    experiment = plan.experiment
    return WorkerSpec(
        base=experiment.base,
        experts=dict(experiment.experts),
        dtype=plan.dtype,
        threads=experiment.scoring.threads,
        batch_size=experiment.scoring.batch_size,
        mode=experiment.scoring.mode,
        timeout_s=experiment.scoring.timeout_s,
        tokenizer=experiment.merge.tokenizer,
        fingerprints={n: d for n, d in plan.fingerprints.items() if n.startswith("model:")},
        statistics=statistics_paths(experiment, plan.fingerprints),
        references=_references(plan, kept or user_cache("references")),
    )


def _references(plan: Plan, kept: Path) -> dict[str, Reference]:
    """The model that each benchmark compares with, and the file that its logits are kept in."""
    return {
        name: Reference(
            plan.baselines[model], kept / f"reference-{reference_digest(plan, name)}.safetensors"
        )
        for name, model in references(plan.experiment).items()
    }


def worker_resources(experiment: Experiment) -> WorkerResources:
    """What one worker of an experiment takes of its node."""
    wanted = experiment.resources
    return WorkerResources(
        num_cpus=wanted.num_cpus or float(experiment.scoring.threads),
        num_gpus=wanted.num_gpus,
        memory_bytes=None if wanted.memory_gb is None else round(wanted.memory_gb * 1e9),
        custom=wanted.custom,
    )


def changed_versions(recorded: Mapping[str, str]) -> list[str]:
    """A line for each package that is not the one a run started with; empty where all are."""
    now = versions()
    return [
        f"{name} was {recorded[name]} when the run started and is {now.get(name)} now: "
        "scores of the two may differ in rounding"
        for name in recorded
        if recorded[name] != now.get(name)
    ]


def computing_dtype(experiment: Experiment) -> str:
    """The name of the dtype that forward passes compute in.

    Raises:
        ModelError: the base cannot be read.
        ScoringError: its dtype is none to compute in.
    """
    wanted, base = experiment.scoring.dtype, _main_dtype(open_checkpoint(experiment.base).infos())
    return resolve_dtype(base if wanted == "base" else wanted, base, DEVICE)


def _main_dtype(infos: Mapping[str, TensorInfo]) -> str:
    """The name of the dtype that most entries of a checkpoint have."""
    n_entries: Counter[str] = Counter()
    for info in infos.values():
        n_entries[str(info.dtype).removeprefix("torch.")] += math.prod(info.shape)
    return n_entries.most_common(1)[0][0]
