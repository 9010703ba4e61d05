"""lm-eval tasks with the requests of all their documents built once."""

import contextlib
import copy
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import jinja2
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.registry import METRIC_REGISTRY
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import ScoringError
from evomerge.scoring.check import (
    check_output_type,
    count_documents,
    unknown_metric,
    unknown_task,
)
from evomerge.scoring.task_files import LocalTask, bundled_tasks, find_tasks, read_task

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
    modified: score copies of them (`copies_of`).
    """

    name: str
    task: ConfigurableTask
    documents: Sequence[dict[str, object]]
    requests: Sequence[tuple[Instance, ...]]
    metric: str
    filter: str

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
        """`generate_until`, `multiple_choice` or `loglikelihood`."""
        return str(self.task.OUTPUT_TYPE)

    @property
    def num_fewshot(self) -> int:
        """How many solved examples stand before each question."""
        return int(self.task.config.num_fewshot)

    @property
    def filter_steps(self) -> tuple[type, ...]:
        """lm-eval's filters that a response goes through before it is judged."""
        pipeline = next(own for own in self.task._filters if own.name == self.filter)
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
        """The item's metric, by the task's own filter and rules, given the model's responses.

        Args:
            item: the index of the document.
            responses: one for each request of the item, in order, as lm-eval's model returns them;
                `repeats` times as many where the task repeats requests.
        """
        instances = [_fresh(request) for request in self.requests[item]]
        for i, response in enumerate(responses):
            instances[i // instances[0].repeats].resps.append(response)
        for pipeline in self.task._filters:
            if pipeline.name == self.filter:
                pipeline.apply(instances)
        results = [instance.filtered_resps[self.filter] for instance in instances]
        return float(self.task.process_results(self.documents[item], results)[self.metric])


def load_benchmarks(
    names: Iterable[str],
    *,
    tasks_path: Path | None,
    num_fewshot: int | None = None,
    metrics: Mapping[str, str] | None = None,
    seed: int = FEWSHOT_SEED,
) -> dict[str, Benchmark]:
    """Load tasks and build the requests of all their documents, as `simple_evaluate` would.

    All documents at once, because one random stream draws the few-shot examples of one after
    another: a subset built on its own would get other prompts.

    Args:
        names: tasks, under `tasks_path` or among those that lm-eval brings.
        tasks_path: folder of task YAML files.
        num_fewshot: solved examples before each question; None leaves it to each task.
        metrics: for a task, the metric (`exact_match`) or metric and filter
            (`exact_match,strict-match`) of its items; by default the task's first.
        seed: of the few-shot draws.

    Raises:
        ScoringError: a task does not exist, cannot be read, runs code, is a group, has an output
            type or a metric that has no value for each item, fixes another number of few-shot
            examples, or its data are missing or malformed.
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
        benchmarks[name] = _compile(name, task, wanted.get(name))
    return benchmarks


def _fresh(request: Instance) -> Instance:
    """A copy without responses: lm-eval appends to the lists of the instances it scores."""
    clone = copy.copy(request)
    clone.resps, clone.filtered_resps = [], {}
    return clone


def _load_task(local: LocalTask) -> ConfigurableTask:
    check_output_type(local.name, str(local.config.get("output_type", "generate_until")))
    for metric in local.metrics:
        # lm-eval would look for it on a hub, and run what it finds there.
        if metric not in METRIC_REGISTRY:
            raise ScoringError(
                f"task {local.name!r} has metric {metric!r}, which lm-eval does not bring"
            )
    count_documents(local)
    manager = TaskManager(include_defaults=False)
    try:
        with _quiet():
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


def _compile(name: str, task: ConfigurableTask, wanted: str | None) -> Benchmark:
    metric, filter_name = _choose_metric(name, task, wanted)
    try:
        with _quiet():
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
        metric=metric,
        filter=filter_name,
    )


def _choose_metric(name: str, task: ConfigurableTask, wanted: str | None) -> tuple[str, str]:
    metrics = list(task._metric_fn_list)
    filters = [pipeline.name for pipeline in task._filters]
    metric, _, filter_name = (wanted or metrics[0]).partition(",")
    filter_name = filter_name or filters[0]
    if metric not in metrics or filter_name not in filters:
        known = [f"{metric},{name}" for metric in metrics for name in filters]
        raise unknown_metric(name, wanted or metric, known)
    if task.aggregation()[metric] is not mean:
        raise ScoringError(
            f"metric {metric!r} of task {name!r} is not the mean of its items' values, "
            "and cannot be estimated from some of them; choose another metric of the task"
        )
    if task.higher_is_better()[metric] is False:
        raise ScoringError(
            f"smaller values of metric {metric!r} of task {name!r} are better, but every objective "
            "is maximised; choose another metric of the task"
        )
    return metric, filter_name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of lm-eval and datasets."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
