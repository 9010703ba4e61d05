"""The metrics that are wanted of a task, found among lm-eval's and ours."""

from collections.abc import Sequence

from lm_eval.api.registry import AGGREGATION_REGISTRY
from lm_eval.api.task import ConfigurableTask

from evomerge.errors import ScoringError
from evomerge.records import Measure, measure_key
from evomerge.scoring.check import unfit_metric, unknown_metric
from evomerge.scoring.metrics import AGGREGATIONS, COMPUTED, OUR_MEASURES, SHARES, Metric

BRIER = "brier_score"


def choose_metrics(
    name: str, task: ConfigurableTask, wanted: Sequence[str | None]
) -> tuple[Metric, ...]:
    """Each wanted metric of a task; None is its first.

    Raises:
        ScoringError: the task has no such metric, or it does not add up from single items.
    """
    return tuple(_choose(name, task, metric) for metric in dict.fromkeys(wanted))


def _choose(name: str, task: ConfigurableTask, wanted: str | None) -> Metric:
    known = list(task._metric_fn_list)
    if wanted is not None and wanted in OUR_MEASURES and wanted not in known:
        if problem := unfit_metric(name, wanted, str(task.OUTPUT_TYPE)):
            raise problem
        return Metric(measure_key(name, wanted), wanted, "", OUR_MEASURES[wanted])
    filters = [str(pipeline.name) for pipeline in task._filters]
    metric, _, filter_name = (wanted or known[0]).partition(",")
    filter_name = filter_name or filters[0]
    if metric not in known or filter_name not in filters:
        pairs = [f"{metric},{filter_name}" for metric in known for filter_name in filters]
        raise unknown_metric(name, wanted or metric, [*pairs, *OUR_MEASURES])
    return Metric(measure_key(name, wanted), metric, filter_name, _measure(name, task, metric))


def _measure(name: str, task: ConfigurableTask, metric: str) -> Measure:
    computed = COMPUTED.get(str(task.OUTPUT_TYPE))
    if computed and metric not in computed and task.config.process_results is None:
        raise ScoringError(
            f"lm-eval gives the items of {task.OUTPUT_TYPE} tasks such as {name!r} no "
            f"{metric!r} that is a number, expected one of {', '.join(sorted(computed))}; choose "
            "another metric of the task"
        )
    aggregation = _aggregation(task, metric)
    if aggregation not in AGGREGATIONS | {BRIER}:
        raise ScoringError(
            f"metric {metric!r} of task {name!r} is aggregated by {aggregation}, which needs the "
            f"text or the code of the whole task; expected {', '.join(sorted(AGGREGATIONS))}, "
            "which add up from a number or two of each item; choose another metric of the task"
        )
    # The Brier score of a task is the mean of those of its items.
    aggregation = "mean" if aggregation == BRIER else aggregation
    is_better = task.higher_is_better().get(metric) is not False
    return Measure(aggregation, is_better, is_share=metric in SHARES)


def _aggregation(task: ConfigurableTask, metric: str) -> str:
    function = task.aggregation()[metric]
    names = [name for name, known in AGGREGATION_REGISTRY.items() if known is function]
    return names[0] if names else f"a function of its own ({function.__name__})"
