"""What is wrong with tasks, as far as their files tell: before lm-eval is even imported."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evomerge.errors import Problem, ScoringError
from evomerge.records import NO_CODE, Permissions
from evomerge.scoring.catalogue import Aggregate, Catalogue, LocalGroup
from evomerge.scoring.metrics import OUR_MEASURES, OUR_OUTPUT_TYPES
from evomerge.scoring.permissions import require_allowed
from evomerge.scoring.task_files import FILE_FORMATS, LocalTask

SUPPORTED_OUTPUT_TYPES = (
    "generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling"
)  # fmt: skip


def check_benchmarks(
    names: Iterable[str],
    *,
    tasks_path: Path | None,
    metrics: Mapping[str, Sequence[str | None]] | None = None,
    permissions: Permissions = NO_CODE,
) -> list[Problem]:
    """Everything that is wrong with these tasks and can be seen in their files, cheaply.

    lm-eval is not imported. Of a task that lm-eval brings, whose data may be on a hub, only the
    YAML is checked.

    Args:
        names: tasks and groups.
        tasks_path: folder of local tasks.
        metrics: the metrics wanted of a task, where it is not the first alone (None).
        permissions: what tasks may do beyond templates.
    """
    try:
        catalogue = Catalogue(tasks_path)
    except ScoringError as error:
        return [Problem("tasks_path", str(error))]
    problems = []
    for name in dict.fromkeys(names):
        try:
            _check(catalogue.read(name), (metrics or {}).get(name, ()), permissions)
        except ScoringError as error:
            problems.append(Problem(name, str(error)))
    return problems


def _check(
    found: LocalTask | LocalGroup, metrics: Sequence[str | None], permissions: Permissions
) -> None:
    if isinstance(found, LocalGroup):
        wanted = [wanted_aggregate(found, metric).wanted for metric in metrics or (None,)]
        for task in found.tasks:
            _check(task, wanted, permissions)
        return
    require_allowed(found, permissions)
    check_output_type(found.name, found.output_type)
    for metric in filter(None, metrics):
        _check_metric(found, metric)
    count_documents(found)


def wanted_aggregate(group: LocalGroup, metric: str | None) -> Aggregate:
    """What a metric that is wanted of a group is of its tasks; None is the group's first.

    Raises:
        ScoringError: the group has no aggregate of this metric.
    """
    if metric is not None and metric in OUR_MEASURES:
        return Aggregate(metric, (), weight_by_size=True)
    if not group.aggregates:
        raise ScoringError(
            f"group {group.name!r} in {group.path} has no aggregate_metric_list, so that lm-eval "
            "gives it no score; name its tasks one by one, or add `aggregate_metric_list: "
            "[{metric: acc}]` to it"
        )
    name, _, wanted_filter = (metric or group.aggregates[0].metric).partition(",")
    for own in group.aggregates:
        if own.metric == name and (not own.filters or wanted_filter in ("", *own.filters)):
            return replace(own, filters=(wanted_filter,) if wanted_filter else own.filters)
    known = [own.metric for own in group.aggregates]
    raise ScoringError(
        f"group {group.name!r} has no aggregate of metric {metric!r}, expected one of "
        f"{', '.join((*known, *OUR_MEASURES))}; add it to the group's aggregate_metric_list"
    )


def _check_metric(task: LocalTask, metric: str) -> None:
    if metric in OUR_MEASURES and metric not in task.metrics:
        if problem := unfit_metric(task.name, metric, task.output_type):
            raise problem
    elif task.metrics and metric.split(",")[0] not in task.metrics:
        raise unknown_metric(task.name, metric, [*task.metrics, *OUR_MEASURES])


def check_output_type(name: str, output_type: str) -> None:
    """Raise ScoringError unless items of this output type can be scored."""
    if output_type not in SUPPORTED_OUTPUT_TYPES:
        raise ScoringError(
            f"task {name!r} has output_type {output_type!r}, expected one of "
            f"{', '.join(SUPPORTED_OUTPUT_TYPES)}"
        )


def unknown_metric(name: str, metric: str, known: Iterable[str]) -> ScoringError:
    """The error for a metric that the task does not compute."""
    return ScoringError(
        f"task {name!r} has no metric {metric!r}, expected one of {', '.join(known)}; "
        "add it to the task's metric_list or name another"
    )


def unfit_metric(name: str, metric: str, output_type: str) -> ScoringError | None:
    """The error for a metric of ours that makes no sense of such a task; None where it does."""
    expected = OUR_OUTPUT_TYPES[metric]
    if output_type in expected:
        return None
    return ScoringError(
        f"task {name!r} has output_type {output_type}, of which there is no {metric}, expected "
        f"{' or '.join(expected)}; choose another metric or task"
    )


def count_documents(task: LocalTask) -> int | None:
    """Read the task's data files and count the documents it is scored on.

    Returns:
        None where that cannot be told from the files alone (no JSON lines, no local files).

    Raises:
        ScoringError: a file is missing, empty, or a line of it is not a JSON object.
    """
    if task.config.get("dataset_path") not in FILE_FORMATS:
        return None
    for path in task.data_files:
        if not path.is_file() and not any(sign in str(path) for sign in ("*", "?", "://", ":/")):
            raise ScoringError(
                f"task {task.name!r} reads {path}, which does not exist; "
                f"data files are looked for beside {task.path}, then in the working directory"
            )
    # Patterns and addresses are left to lm-eval.
    here = (path for path in task.data_files if path.suffix == ".jsonl" and path.is_file())
    counts = {path: _count_lines(path) for path in here}
    if not task.document_files or not all(path in counts for path in task.document_files):
        return None
    return sum(counts[path] for path in task.document_files)


def _count_lines(path: Path) -> int:
    n_documents = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                document = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise ScoringError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(document, dict):
                raise ScoringError(
                    f"{path}, line {number} holds a {type(document).__name__}, "
                    "expected a JSON object"
                )
            n_documents += 1
    if n_documents == 0:
        raise ScoringError(f"{path} is empty, expected a JSON object on each line")
    return n_documents
