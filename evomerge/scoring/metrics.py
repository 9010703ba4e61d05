"""Metrics of items by name: which are ours, and which of lm-eval's add up from single items."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from evomerge.records import Measure


@dataclass(frozen=True)
class Metric:
    """A metric that is wanted of a benchmark's items.

    `key` is what its item results are kept under (`records.measure_key`). `filter` is lm-eval's
    filter that a response goes through before it is judged; empty for a metric of ours, which
    lm-eval does not compute.
    """

    key: str
    name: str
    filter: str
    measure: Measure

    @property
    def is_ours(self) -> bool:
        """Whether lm-eval knows nothing of it."""
        return not self.filter


OUR_MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "log_likelihood": Measure(),
        "output_length": Measure(higher_is_better=False),
        "agreement": Measure(is_share=True),
    }
)
"""Our metrics of a task's items: of the right answer, in tokens, and of answers with others'."""

_ANSWERED = ("multiple_choice", "generate_until")
OUR_OUTPUT_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "log_likelihood": (*_ANSWERED, "loglikelihood"),
        "output_length": ("generate_until",),
        "agreement": _ANSWERED,
    }
)
"""The tasks that each of our metrics makes sense of."""

SHARES = frozenset(
    {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "acc_all", "em", "exact_match", "f1"}
)
"""lm-eval's metrics whose scores lie in [0, 1], whatever the task."""

AGGREGATIONS = frozenset(
    {
        "mean", "median", "perplexity", "weighted_perplexity", "bits_per_byte", "f1",
        "matthews_corrcoef",
    }
)  # fmt: skip
"""lm-eval's ways from item results to a score that need a number or two of each item."""

CHOICE_METRICS = frozenset(
    {
        "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "mcc",
        "brier_score",
    }
)  # fmt: skip
COMPUTED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "multiple_choice": CHOICE_METRICS,
        "loglikelihood": frozenset({"perplexity", "acc"}),
        "loglikelihood_rolling": frozenset({"word_perplexity", "byte_perplexity", "bits_per_byte"}),
    }
)
"""What lm-eval itself computes of an item, whatever else a task's metric list may name."""
