"""The nouns that travel between rooms: small frozen values, and the protocols that rooms share.

Nothing here computes more than a digest or a mean; nothing here imports a heavy library.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

Phase = Literal["search", "selection", "test"]
"""What items are for: steering the search, choosing the front after it, the final test."""

ParameterValue = float | tuple[float, ...]
"""One number, or one a expert in the order of `Recipe.experts`."""


@dataclass(frozen=True)
class GroupRecipe:
    """How the tensors of one layer group are merged."""

    method: str
    values: Mapping[str, ParameterValue]


@dataclass(frozen=True)
class Recipe:
    """A merge, complete: what a worker needs beside the models, and what a human can read.

    `groups` maps the name of a layer group (`embeddings`, `layers.0-3`, `layers.0-3.mlp`,
    `final_norm`, `head`, `other`) to its method and values; the names say which tensors belong to
    them (`merge.groups`). `seed` is the key of all random masks, the same for every candidate of a
    run, so that recipes that differ little merge to models that differ little.
    """

    experts: tuple[str, ...]
    groups: Mapping[str, GroupRecipe]
    seed: int = 0

    @cached_property
    def digest(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the recipe's canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values; `from_json` gives back an equal recipe."""
        groups = {
            name: {
                "method": group.method,
                "values": {
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in group.values.items()
                },
            }
            for name, group in self.groups.items()
        }
        return {"experts": list(self.experts), "groups": groups, "seed": self.seed}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_json` wrote down."""
        groups = {
            name: GroupRecipe(
                method=group["method"],
                values={
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in group["values"].items()
                },
            )
            for name, group in data["groups"].items()
        }
        return cls(experts=tuple(data["experts"]), groups=groups, seed=data["seed"])


@dataclass(frozen=True)
class Candidate:
    """A proposal of the search: its place in the order of proposals, its genome, its recipe."""

    number: int
    genome: tuple[float, ...]
    recipe: Recipe

    @property
    def id(self) -> str:
        """The recipe's digest: equal merges have equal identities, whoever proposed them."""
        return self.recipe.digest


@dataclass(frozen=True)
class Permissions:
    """What a command line allows tasks to do; no file and no environment variable can.

    Args:
        task_code: Python that a task's YAML names runs here and on workers.
        unsafe_code: what the model writes runs, in tasks that are about programs.
        remote_code: code that comes with a dataset runs.
    """

    task_code: bool = False
    unsafe_code: bool = False
    remote_code: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """What to type for them."""
        allowed = (self.task_code, self.unsafe_code, self.remote_code)
        return tuple(itertools.compress(PERMISSION_FLAGS, allowed))


PERMISSION_FLAGS = ("--allow-task-code", "--confirm-run-unsafe-code", "--trust-remote-code")
"""One for each permission, in their order."""

NO_CODE = Permissions()


@dataclass(frozen=True)
class Measure:
    """How the item results of a metric add up to its score, by lm-eval's name for that.

    `mean`, `weighted_mean`, `perplexity`, `weighted_perplexity`, `bits_per_byte`, `f1`, … .
    `is_share` says that the score lies in [0, 1] by nature, as an accuracy does.
    """

    aggregation: str = "mean"
    higher_is_better: bool = True
    is_share: bool = False


@dataclass(frozen=True)
class TaskScores:
    """Results of one measure, item by item: `values[i]` is the metric of document `items[i]`.

    `weights` is empty where an item's result is one number, else the second number of each: the
    words that a log-likelihood is of, the prediction beside the right label.
    """

    items: tuple[int, ...]
    values: tuple[float, ...]
    weights: tuple[float, ...] = ()

    def estimate(self) -> "Estimate":
        """The mean over the items with its standard error."""
        return Estimate.of(self.values)

    def first(self, n: int) -> "TaskScores":
        """The results of the first `n` items."""
        return TaskScores(self.items[:n], self.values[:n], self.weights[:n])

    def of(self, items: Collection[int]) -> "TaskScores":
        """The results of these items, in the order that they have here."""
        places = [place for place, item in enumerate(self.items) if item in items]
        return TaskScores(
            tuple(self.items[place] for place in places),
            tuple(self.values[place] for place in places),
            tuple(self.weights[place] for place in places) if self.weights else (),
        )

    def then(self, more: "TaskScores") -> "TaskScores":
        """These results, followed by those of further items."""
        return TaskScores(
            self.items + more.items, self.values + more.values, self.weights + more.weights
        )


def measure_key(benchmark: str, metric: str | None) -> str:
    """What item results of a metric are kept under; None is the benchmark's first metric."""
    return benchmark if metric is None else f"{benchmark}:{metric}"


class Asker(Protocol):
    """Goes on asking a benchmark's items: plain data that travels with a job."""

    def next_items(self, found: Mapping[str, TaskScores]) -> tuple[int, ...]:
        """Documents to be scored next, none of them scored before; empty once it is enough.

        Args:
            found: results of the benchmark until now, by measure key, in the order of asking.
        """


@dataclass(frozen=True)
class Job:
    """One evaluation on a worker: merge `recipe`, score the items of each benchmark.

    `asking` says of some benchmarks how to go on after those items, while the merge is there.
    """

    candidate_id: str
    recipe: Recipe
    items: Mapping[str, tuple[int, ...]]
    phase: Phase = "search"
    asking: Mapping[str, Asker] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemScores:
    """What a worker sends back: raw per-item results of every measure of a job, by its key."""

    candidate_id: str
    tasks: Mapping[str, TaskScores]
    phase: Phase = "search"
    seconds: float = 0.0
    worker: str = ""


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be evaluated, and why.

    `reason` is one of a few words that can be counted (`exception`, `non_finite`, `timeout`,
    `worker_died`); `message` is the detail for a human.
    """

    candidate_id: str
    reason: str
    message: str = ""
    phase: Phase = "search"
    worker: str = ""

    @property
    def is_loss(self) -> bool:
        """Whether the worker was lost rather than the candidate found bad: worth another try."""
        return self.reason in ("timeout", "worker_died")


Result = ItemScores | Failure


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error over `n` items."""

    mean: float
    se: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """The sample mean of `values`, and s / √n with s² the unbiased sample variance.

        The same standard error as lm-eval's `mean_stderr`; NaN for fewer than two values.
        """
        n, n_right = len(values), values.count(1.0)
        if n > 1 and n_right + values.count(0.0) == n:  # most metrics; counting is faster
            mean = n_right / n
            return cls(mean, math.sqrt(mean * (1.0 - mean) / (n - 1)), n)
        mean = math.fsum(values) / n
        if n < 2:
            return cls(mean, math.nan, n)
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        return cls(mean, math.sqrt(variance / n), n)

    def to_json(self) -> dict[str, float | None]:
        """`mean`, `se` and `n` as plain JSON values; a number that is not finite is null."""
        numbers = {"mean": self.mean, "se": self.se, "n": self.n}
        return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True)
class Bound:
    """What a measured value is held to, `relation` to `limit`; `text` as the experiment has it.

    The limit is NaN as long as the baseline that it is a multiple of has no score.
    """

    relation: Literal[">=", "<="]
    limit: float
    text: str = ""

    def shortfall(self, value: float) -> float:
        """What is missing as a part of |limit|, or as it is where that is zero; 0 if it holds."""
        missing = self.limit - value if self.relation == ">=" else value - self.limit
        return missing / (abs(self.limit) or 1.0) if missing > 0.0 else 0.0


@dataclass(frozen=True)
class Evaluation:
    """A candidate with estimates of its objectives, and of what is held to a bound.

    Estimates are as natural as their metrics. `minimised` names the objectives of which smaller is
    better; `violation` is the sum of the bounds' shortfalls, 0 for a feasible candidate.
    """

    candidate: Candidate
    objectives: Mapping[str, Estimate]
    minimised: frozenset[str] = frozenset()
    constraints: Mapping[str, Estimate] = field(default_factory=dict)
    violation: float = 0.0

    @property
    def means(self) -> tuple[float, ...]:
        """The objectives' means in their order, signed: a point to be maximised."""
        return tuple(
            -estimate.mean if name in self.minimised else estimate.mean
            for name, estimate in self.objectives.items()
        )


@dataclass(frozen=True)
class FailedCandidate:
    """A candidate whose evaluation failed: accepted by every controller, never a number."""

    candidate: Candidate
    failure: Failure


Outcome = Evaluation | FailedCandidate


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a checkpoint without its values."""

    name: str
    shape: tuple[int, ...]
    dtype: "torch.dtype"


class TensorSource(Protocol):
    """A model whose tensors can be read one at a time; nobody may write to what it returns."""

    def infos(self) -> Mapping[str, TensorInfo]:
        """Every tensor's name, shape and dtype, in the checkpoint's order."""

    def read(self, name: str) -> "torch.Tensor":
        """The tensor, memory-mapped where possible: read it, never write to it."""


@runtime_checkable
class LowRankSource(TensorSource, Protocol):
    """A model that is stored as a base and a low-rank change of some of its matrices."""

    def factors(self, name: str) -> "tuple[torch.Tensor, torch.Tensor] | None":
        """B `(m, r)` and A `(r, n)` float32 with τ = B A; None where τ is zero or not low-rank."""


@dataclass(frozen=True)
class Member:
    """A model in the final comparison: a member of the front or a baseline.

    `objectives` are estimates on the search items, `test` on the test items of the same
    objectives (empty until the front has been re-scored). `means` are the plain means of the same
    search items where `objectives` are estimated otherwise, else empty. `constraints` are estimates
    of what is held to a bound, on the search items; what follows has them too. `selection` are
    estimates on fresh items, and `pooled` on these and the search items together, of the members
    that were scored again after the search. `violation` is 0 where all bounds hold.
    """

    id: str
    recipe: Recipe
    objectives: Mapping[str, Estimate]
    test: Mapping[str, Estimate] = field(default_factory=dict)
    means: Mapping[str, Estimate] = field(default_factory=dict)
    constraints: Mapping[str, Estimate] = field(default_factory=dict)
    violation: float = 0.0
    selection: Mapping[str, Estimate] = field(default_factory=dict)
    pooled: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The state of a search at one moment, as far as a spectator cares.

    `best` is of feasible candidates alone, natural, and the smallest of an objective in
    `minimised`. `n_feasible` is None where nothing is held to a bound; `n_front` counts feasible
    candidates.
    """

    n_done: int
    n_failed: int
    n_total: int
    best: Mapping[str, float]
    hypervolume: float
    n_front: int
    failures: Mapping[str, int] = field(default_factory=dict)
    time_s: float = 0.0
    """The moment as seconds since the epoch, from the journal's own clock."""
    minimised: frozenset[str] = frozenset()
    n_feasible: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The front beside the baselines: what a report shows.

    `measures` has one for each objective and each name in `bounds`, and may lack those that are
    shares, larger the better. The front holds feasible members; while there is none, those that
    miss their bounds by the least.
    """

    objectives: tuple[str, ...]
    front: tuple[Member, ...]
    baselines: Mapping[str, Member]
    dominated: tuple[Member, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    bounds: Mapping[str, Bound] = field(default_factory=dict)

    @property
    def is_feasible(self) -> bool:
        """Whether the members of the front meet every bound."""
        return all(member.violation == 0.0 for member in self.front)

    def members(self) -> Iterator[Member]:
        """Every member of the front, then every baseline."""
        yield from self.front
        yield from self.baselines.values()
