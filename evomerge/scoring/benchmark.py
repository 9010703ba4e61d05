"""lm-eval tasks with the requests of all their documents built once."""

import contextlib
import copy
import io
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import jinja2
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import brier_score
from lm_eval.api.registry import METRIC_REGISTRY
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import ScoringError
from evomerge.records import Measure
from evomerge.scoring.check import (
    check_output_type,
    count_documents,
    unknown_task,
)
from evomerge.scoring.metrics import Metric
from evomerge.scoring.task_files import LocalTask, bundled_tasks, find_tasks, read_task
from evomerge.scoring.tokens import TokenisedItems
from evomerge.scoring.wanted import BRIER, choose_metrics

ItemResult = float | tuple[float, float]
"""What lm-eval keeps of an item: its metric, or the two numbers that its aggregation needs."""

FEWSHOT_SEED = 1234
"""lm-eval's own default: the few-shot examples are the ones that `simple_evaluate` draws."""

_TASK_ERRORS = (
    AssertionError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    datasets.exceptions.DatasetsError,
    jinja2.TemplateError,
)
"""What lm-eval and the libraries below it raise at a task that makes no sense."""

_TABLES = {"dataset", "task_docs", "_training_docs", "_fewshot_docs", "sampler", "_instances"}
"""What a lm-eval task holds of its data; requests and documents are built from it."""

logging.getLogger("lm_eval").setLevel(logging.ERROR)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A task whose items can be scored one by one, each as in an evaluation of the whole task.

    `requests[i]` are lm-eval's requests of item i, in the order of their index, and never
    modified: score copies of them (`copies_of`). `tokens` are the same for a model's tokenizer,
    where they have been made.
    """

    name: str
    task: ConfigurableTask
    documents: Sequence[dict[str, object]]
    requests: Sequence[tuple[Instance, ...]]
    metrics: tuple[Metric, ...]
    tokens: TokenisedItems | None = None

    @property
    def n_items(self) -> int:
        """How many documents the task has."""
        return len(self.requests)

    @property
    def contents(self) -> list[str]:
        """What each document asks and what it takes for right, as text: equal for equal ones.

        Not the document itself, which may be told from an equal one by an id.
        """
        has_choices = self.task.config.doc_to_choice is not None
        return [
            repr(
                (
                    self.task.doc_to_text(document),
                    self.task.doc_to_target(document),
                    self.task.doc_to_choice(document) if has_choices else None,
                )
            )
            for document in self.documents
        ]

    @property
    def output_type(self) -> str:
        """`generate_until`, `multiple_choice`, `loglikelihood` or `loglikelihood_rolling`."""
        return str(self.task.OUTPUT_TYPE)

    @property
    def num_fewshot(self) -> int:
        """How many solved examples stand before each question."""
        return int(self.task.config.num_fewshot)

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How the item results of each metric add up, by its key."""
        return {metric.key: metric.measure for metric in self.metrics}

    @property
    def metric(self) -> str:
        """The name of the first metric."""
        return self.metrics[0].name

    @property
    def filter(self) -> str:
        """The filter of the first metric."""
        return self.metrics[0].filter

    @property
    def filter_steps(self) -> tuple[type, ...]:
        """lm-eval's filters that a response goes through before the first metric judges it."""
        return self.steps_of(self.filter)

    def steps_of(self, filter_name: str) -> tuple[type, ...]:
        """lm-eval's filters that a response goes through in a pipeline of this name."""
        pipeline = next(own for own in self.task._filters if own.name == filter_name)
        return tuple(step.func for step in pipeline.filters)

    def copies_of(self, item: int) -> list[Instance]:
        """Fresh copies of an item's requests, each repeated as often as the task wants."""
        return [_fresh(request) for request in self.requests[item] for _ in range(request.repeats)]

    def portable(self) -> "Benchmark":
        """A copy that scores the same and can travel: no tables of lm-eval's, which map files."""
        task = copy.copy(self.task)
        vars(task).update(dict.fromkeys(_TABLES & vars(task).keys()))
        return replace(self, task=task)

    def value(self, item: int, responses: Sequence[object]) -> float:
        """The item's first metric, where that is one number."""
        value = self.values(item, responses)[self.metrics[0].key]
        return math.nan if isinstance(value, tuple) else value

    def values(self, item: int, responses: Sequence[object]) -> Mapping[str, ItemResult]:
        """The item's metrics by key, by the task's own filters and rules; not those of ours.

        Args:
            item: the index of the document.
            responses: one for each request of the item, in order, as lm-eval's model returns them;
                `repeats` times as many where the task repeats requests.

        Raises:
            ScoringError: the task's own code gives no such metric, or something else than numbers.
        """
        instances = [_fresh(request) for request in self.requests[item]]
        for i, response in enumerate(responses):
            instances[i // instances[0].repeats].resps.append(response)
        theirs = [metric for metric in self.metrics if not metric.is_ours]
        filters = {metric.filter for metric in theirs}
        results: dict[str, Mapping[str, object]] = {}
        for pipeline in self.task._filters:
            if pipeline.name in filters:
                pipeline.apply(instances)
                filtered = [instance.filtered_resps[pipeline.name] for instance in instances]
                own = self.task.process_results(self.documents[item], filtered)
                results[pipeline.name] = own
        return {
            metric.key: self._numbers(metric, item, results[metric.filter].get(metric.name))
            for metric in theirs
        }

    def _numbers(self, metric: Metric, item: int, result: object) -> ItemResult:
        try:
            if metric.name == BRIER:
                return float(brier_score([result]))
            if isinstance(result, tuple | list) and len(result) == 2:
                return _number(result[0]), _number(result[1])
            return _number(result)
        except (TypeError, ValueError) as error:
            raise ScoringError(
                f"{metric.name} of item {item} of task {self.name!r} is {result!r:.80}, expected a "
                "number or two; choose another metric of the task"
            ) from error


def load_benchmarks(
    names: Iterable[str],
    *,
    tasks_path: Path | None,
    num_fewshot: int | None = None,
    metrics: Mapping[str, Sequence[str | None]] | None = None,
    seed: int = FEWSHOT_SEED,
) -> dict[str, Benchmark]:
    """Load tasks and build the requests of all their documents, as `simple_evaluate` would.

    All documents at once, because one random stream draws the few-shot examples of one after
    another: a subset built on its own would get other prompts.

    Args:
        names: tasks, under `tasks_path` or among those that lm-eval brings.
        tasks_path: folder of task YAML files.
        num_fewshot: solved examples before each question; None leaves it to each task.
        metrics: for a task, the metrics that are wanted of its items, each a name
            (`exact_match`, `output_length`), a name and filter (`exact_match,strict-match`), or
            None for the task's first, which is the default.
        seed: of the few-shot draws.

    Raises:
        ScoringError: a task does not exist, cannot be read, runs code, is a group, has an output
            type that is not scored, has no such metric or one that does not add up from single
            items, fixes another number of few-shot examples, or its data are missing or malformed.
    """
    found = find_tasks(tasks_path) if tasks_path else {}
    wanted = metrics or {}
    benchmarks = {}
    for name in dict.fromkeys(names):
        if name not in found:
            found = bundled_tasks() | found
        if name not in found:
            raise unknown_task(name, found, tasks_path)
        local = read_task(found[name])
        task = _load_task(local)
        _set_fewshot(name, task, num_fewshot, seed)
        benchmarks[name] = _compile(name, task, wanted.get(name, (None,)))
    return benchmarks


def _fresh(request: Instance) -> Instance:
    """A copy without responses: lm-eval appends to the lists of the instances it scores."""
    clone = copy.copy(request)
    clone.resps, clone.filtered_resps = [], {}
    return clone


def _number(result: object) -> float:
    if isinstance(result, str):
        raise TypeError("a text, which float() may take for a number")
    return float(result)  # type: ignore[arg-type]


def _load_task(local: LocalTask) -> ConfigurableTask:
    check_output_type(local.name, local.output_type)
    for metric in local.metrics:
        # lm-eval would look for it on a hub, and run what it finds there.
        if metric not in METRIC_REGISTRY:
            raise ScoringError(
                f"task {local.name!r} has metric {metric!r}, which lm-eval does not bring"
            )
    count_documents(local)
    manager = TaskManager(include_defaults=False)
    try:
        with quiet():
            task = manager.load(copy.deepcopy(local.config))["tasks"][local.name]
    except _TASK_ERRORS as error:
        raise ScoringError(
            f"lm-eval cannot load task {local.name!r} from {local.path}: "
            f"{_explained(error)}; data on a hub must be downloaded once while online"
        ) from error
    if not isinstance(task, ConfigurableTask):
        raise ScoringError(f"task {local.name!r} is a {type(task).__name__}, expected a YAML task")
    return task


def _explained(error: BaseException) -> str:
    """The error and what caused it: `datasets` says only in the cause which column it missed."""
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    return f"{type(error).__name__}: {error}{cause}"


def _set_fewshot(name: str, task: ConfigurableTask, num_fewshot: int | None, seed: int) -> None:
    own = task.config.num_fewshot
    if num_fewshot is not None and own == 0 and num_fewshot != 0:
        # lm-eval would keep the zero and say so in its log alone.
        raise ScoringError(
            f"task {name!r} fixes num_fewshot: 0, so that lm-eval gives it no examples, but "
            f"{num_fewshot} are asked for; delete the line from its YAML or ask for none"
        )
    if own is None or num_fewshot is not None:
        task.set_config(key="num_fewshot", value=num_fewshot or 0)
    task.set_fewshot_seed(seed=seed)


def _compile(name: str, task: ConfigurableTask, wanted: Sequence[str | None]) -> Benchmark:
    metrics = choose_metrics(name, task, wanted)
    try:
        with quiet():
            task.build_all_requests()
    except _TASK_ERRORS as error:
        raise ScoringError(
            f"lm-eval cannot build the prompts of task {name!r}: {type(error).__name__}: {error}; "
            "does every document have the fields that its YAML names, and has its fewshot_split "
            f"more than {task.config.num_fewshot or 0} documents?"
        ) from error
    documents = list(task.eval_docs)
    requests: list[list[Instance]] = [[] for _ in documents]
    for instance in task.instances:
        requests[instance.doc_id].append(instance)
    return Benchmark(
        name=name,
        task=task,
        documents=documents,
        requests=[tuple(sorted(own, key=lambda request: request.idx)) for own in requests],
        metrics=metrics,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars of lm-eval and datasets off the terminal."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
