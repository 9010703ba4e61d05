"""What is measured beside tasks: the texts of an experiment, and the model itself."""

from evomerge.config.experiment import MODEL_METRICS, Experiment, Objective
from evomerge.records import Phase
from evomerge.scoring.model_size import SIZES, ModelBenchmark
from evomerge.scoring.text_benchmark import TextBenchmark, TextMetric, load_text


def load_texts(experiment: Experiment) -> dict[str, TextBenchmark]:
    """The texts that objectives name, as the base's tokenizer reads them, by benchmark.

    Raises:
        UsageError: a text cannot be read or is too short.
        ModelError: the base's tokenizer or config cannot be loaded.
    """
    texts = {}
    phases: tuple[Phase, ...] = ("search", "test")
    for objective in experiment.objectives:
        for phase in phases:
            path = objective.text if phase == "search" else objective.test_text
            if path is not None:
                name = objective.benchmark(phase)
                texts[name] = load_text(
                    name,
                    text_metric(objective),
                    path,
                    model=experiment.base,
                    chat_template=objective.chat_template,
                )
    return texts


def text_metric(objective: Objective) -> TextMetric:
    """The metric of an objective that has a text."""
    return "kl" if objective.metric == "kl" else "perplexity"


def model_benchmarks(experiment: Experiment) -> dict[str, ModelBenchmark]:
    """The model itself as a benchmark, where some objective is about its size."""
    wanted = {objective.metric for objective in experiment.objectives}
    sizes = tuple(size for size in SIZES if size in wanted & {*MODEL_METRICS})
    benchmark = ModelBenchmark(sizes)
    return {benchmark.name: benchmark} if sizes else {}


def references(experiment: Experiment) -> dict[str, str]:
    """The name of the model that each benchmark compares with, where it does."""
    return {
        name: objective.reference
        for objective in experiment.objectives
        for name in (objective.benchmark("search"), objective.benchmark("test"))
        if objective.metric == "kl"
    }
