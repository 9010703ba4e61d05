"""lm-eval tasks with the requests of all their documents built once."""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import brier_score
from lm_eval.api.task import ConfigurableTask
from transformers import PreTrainedTokenizerBase

from evomerge.errors import ScoringError
from evomerge.records import NO_CODE, Measure, Permissions, measure_key
from evomerge.scoring.catalogue import Catalogue, LocalGroup
from evomerge.scoring.chat import chat_template
from evomerge.scoring.check import wanted_aggregate
from evomerge.scoring.lm_eval_tasks import TASK_ERRORS, load_task, quiet, seeded, set_fewshot
from evomerge.scoring.metrics import Metric
from evomerge.scoring.permissions import require_allowed
from evomerge.scoring.rules import rules_digest
from evomerge.scoring.task_files import LocalTask
from evomerge.scoring.task_group import TaskGroup, make_group
from evomerge.scoring.tokens import TokenisedItems
from evomerge.scoring.wanted import BRIER, choose_metrics

FEWSHOT_SEED = 1234
"""lm-eval's own default: the few-shot examples are the ones that `simple_evaluate` draws."""

ItemResult = float | tuple[float, float]
"""What lm-eval keeps of an item: its metric, or the two numbers that its aggregation needs."""

_TABLES = {"dataset", "task_docs", "_training_docs", "_fewshot_docs", "sampler", "_instances"}
"""What a lm-eval task holds of its data; requests and documents are built from it."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A task whose items can be scored one by one, each as in an evaluation of the whole task.

    `requests[i]` are lm-eval's requests of item i, in the order of their index, and never
    modified. `rules` is a digest of what judges an answer: filters, metrics, code. `tokens` are the
    requests for a model's tokenizer, where they are known already.
    """

    name: str
    task: ConfigurableTask
    documents: Sequence[dict[str, object]]
    requests: Sequence[tuple[Instance, ...]]
    metrics: tuple[Metric, ...]
    rules: str = ""
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

    def text(self, item: int) -> str:
        """What a document asks, its choices if it has any, and what it takes for right."""
        document = self.documents[item]
        asked, target = self.task.doc_to_text(document), self.task.doc_to_target(document)
        lines = [str(asked)]
        if self.task.config.doc_to_choice is not None:
            choices = list(self.task.doc_to_choice(document))
            lines.append(" | ".join(map(str, choices)))
            target = choices[target] if isinstance(target, int) else target
        return "\n".join([*lines, f"→ {target}"])

    @property
    def output_type(self) -> str:
        """`generate_until`, `multiple_choice`, `loglikelihood` or `loglikelihood_rolling`."""
        return str(self.task.OUTPUT_TYPE)

    @property
    def num_fewshot(self) -> int:
        """How many solved examples stand before each question."""
        return int(self.task.config.num_fewshot)

    @property
    def metric(self) -> str:
        """The name of the first metric."""
        return self.metrics[0].name

    def steps_of(self, filter_name: str) -> tuple[type, ...]:
        """lm-eval's filters that a response goes through in a pipeline of this name."""
        pipeline = next(own for own in self.task._filters if own.name == filter_name)
        return tuple(step.func for step in pipeline.filters)

    @property
    def measures(self) -> Mapping[str, Measure]:
        """How the item results of each metric add up, by its key."""
        return {metric.key: metric.measure for metric in self.metrics}

    @property
    def digest(self) -> str:
        """A digest of every prompt, answer, rule and metric: what its scores depend on."""
        return self._digest(self.metrics)

    def digest_of(self, key: str) -> str:
        """The same of one metric by its key, whatever else is measured of the items."""
        return self._digest([metric for metric in self.metrics if metric.key == key])

    def _digest(self, metrics: Iterable[Metric]) -> str:
        digest = hashlib.sha256(self.rules.encode())
        for document, requests in zip(self.documents, self.requests, strict=True):
            digest.update(repr(document).encode())
            for request in requests:
                digest.update(repr(request.args).encode())
        for metric in metrics:
            digest.update(f"{metric.name},{metric.filter}".encode())
        return digest.hexdigest()

    def portable(self) -> "Benchmark":
        """A copy that scores the same and can travel: no tables of lm-eval's, which map files."""
        task = copy.copy(self.task)
        vars(task).update(dict.fromkeys(_TABLES & vars(task).keys()))
        return replace(self, task=task)

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


TaskBenchmark = Benchmark | TaskGroup


@dataclass(frozen=True)
class Setting:
    """How tasks are asked.

    Args:
        num_fewshot: solved examples before each question; None leaves it to each task.
        seed: of the few-shot draws.
        permissions: what tasks may do beyond templates.
        chat: whose chat template prompts are put into, each example a turn; None for none.
    """

    num_fewshot: int | None = None
    seed: int = FEWSHOT_SEED
    permissions: Permissions = NO_CODE
    chat: PreTrainedTokenizerBase | None = None

    @property
    def request_options(self) -> dict[str, object]:
        """What lm-eval is told when it builds the requests."""
        if self.chat is None:
            return {}
        template = chat_template(self.chat)
        return {
            "apply_chat_template": True,
            "fewshot_as_multiturn": True,
            "chat_template": template,
        }


def load_benchmarks(
    names: Iterable[str],
    *,
    tasks_path: Path | None,
    num_fewshot: int | None = None,
    metrics: Mapping[str, Sequence[str | None]] | None = None,
    permissions: Permissions = NO_CODE,
    chat: PreTrainedTokenizerBase | None = None,
    seed: int = FEWSHOT_SEED,
) -> dict[str, TaskBenchmark]:
    """Load tasks and build the requests of all their documents, as `simple_evaluate` would.

    All documents at once, because one random stream draws the few-shot examples of one after
    another: a subset built on its own would get other prompts.

    Args:
        names: tasks and groups, under `tasks_path` or among those that lm-eval brings.
        tasks_path: folder of task YAML files.
        num_fewshot: solved examples before each question; None leaves it to each task.
        metrics: for a task, the metrics that are wanted of its items, each a name
            (`exact_match`, `output_length`), a name and filter (`exact_match,strict-match`), or
            None for the task's first, which is the default.
        permissions: what tasks may do beyond templates.
        chat: tokenizer whose chat template prompts are put into, each solved example a turn of its
            own, as with lm-eval's `apply_chat_template`; None for plain text.
        seed: of the few-shot draws.

    Raises:
        ScoringError: a task does not exist, cannot be read, does what is not allowed, has an output
            type that is not scored, has no such metric or one that does not add up from single
            items, fixes another number of few-shot examples, or its data are missing or malformed.
    """
    catalogue = Catalogue(tasks_path)
    setting = Setting(num_fewshot, seed, permissions, chat)
    benchmarks: dict[str, TaskBenchmark] = {}
    for name in dict.fromkeys(names):
        found, wanted = catalogue.read(name), tuple((metrics or {}).get(name, (None,)))
        if isinstance(found, LocalGroup):
            benchmarks[name] = _load_group(found, wanted, setting)
        else:
            benchmarks[name] = _load(found, wanted, setting)
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


def _load(local: LocalTask, wanted: Sequence[str | None], setting: Setting) -> Benchmark:
    require_allowed(local, setting.permissions)
    with seeded():
        task = load_task(local)
        set_fewshot(local.name, task, setting.num_fewshot, setting.seed)
        metrics = choose_metrics(local.name, task, wanted)
        requests = _build_requests(local.name, task, setting.request_options)
    return Benchmark(
        name=local.name,
        task=task,
        documents=[own[0].doc for own in requests],
        requests=requests,
        metrics=metrics,
        rules=rules_digest(local),
    )


def _load_group(group: LocalGroup, wanted: Sequence[str | None], setting: Setting) -> TaskGroup:
    """The group's tasks, each under a name of its own and with the group's keys."""
    aggregates = [wanted_aggregate(group, metric) for metric in wanted]
    parts = []
    for local in group.tasks:
        part = _load(local, [aggregate.wanted for aggregate in aggregates], setting)
        keyed = zip(part.metrics, wanted, strict=True)
        metrics = tuple(replace(own, key=measure_key(group.name, name)) for own, name in keyed)
        parts.append(replace(part, name=f"{group.name}::{part.name}", metrics=metrics))
    by_size = [aggregate.weight_by_size for aggregate in aggregates]
    return make_group(group.name, parts, by_size=by_size)


def _build_requests(
    name: str, task: ConfigurableTask, options: Mapping[str, object]
) -> list[tuple[Instance, ...]]:
    """Each document's requests, in the order of their index."""
    try:
        with quiet():
            task.build_all_requests(**options)
    except TASK_ERRORS as error:
        raise ScoringError(
            f"lm-eval cannot build the prompts of task {name!r}: {type(error).__name__}: {error}; "
            "does every document have the fields that its YAML names, and has its fewshot_split "
            f"more than {task.config.num_fewshot or 0} documents?"
        ) from error
    requests: dict[int, list[Instance]] = {}
    for instance in task.instances:
        requests.setdefault(instance.doc_id, []).append(instance)
    return [tuple(sorted(own, key=lambda own: own.idx)) for _, own in sorted(requests.items())]
