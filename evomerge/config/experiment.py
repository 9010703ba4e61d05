"""The experiment file as frozen types.

Methods, controllers and tasks are plain names here; `run` checks them against their tables. Paths
are relative to the file and made absolute when it is read.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from evomerge.records import Phase

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]

MOST_WORKERS = 100_000


def _require_workers(found: object) -> object:
    """One message for both forms; a check by type alone would complain about each."""
    if found == "auto" or (type(found) is int and 0 <= found <= MOST_WORKERS):
        return found
    raise PydanticCustomError(
        "workers", f"expected a number of workers from 0 to {MOST_WORKERS}, or `auto`"
    )


Workers = Annotated[
    Annotated[int, Field(ge=0, le=MOST_WORKERS)] | Literal["auto"],
    BeforeValidator(_require_workers),
]

LONGEST_S = 31_536_000
"""A year, in seconds: no time limit may be longer, as timers of the system overflow."""


class Section(BaseModel):
    """A part of the experiment file: frozen, finite, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


TEXT_METRICS = ("perplexity", "kl")
MODEL_METRICS = ("parameters", "layers")


class Objective(Section):
    """One thing that is measured of every candidate: optimised, or held to a bound."""

    task: Name | None = Field(
        None, description="lm-eval task, or group of tasks, that the search scores"
    )
    text: Path | None = Field(
        None,
        description="file for the metrics perplexity and kl: plain text, or JSONL with a document "
        "a line under `text`",
    )
    metric: str | None = Field(
        None,
        description="metric of the task, its first one by default; or log_likelihood (of the right "
        "answer), output_length (tokens), agreement (of answers with similar merges'); of a text "
        "perplexity or kl (of the next token after each document); of the model itself parameters "
        "or layers",
    )
    name: Name | None = Field(
        None, description="what reports call it; the task, and the metric where it is given"
    )
    test: Name | None = Field(None, description="lm-eval task of the final, untouched items")
    test_text: Path | None = Field(None, description="text of the final comparison")
    reference: Name = Field("base", description="model that kl is about: base or an expert")
    require: str | None = Field(
        None,
        description="a bound instead of a goal, such as `>= 0.98 * base`: `>=` or `<=`, a number, "
        "and a baseline that it multiplies, if any (of scores below zero, such as log-likelihoods, "
        "1.02 * base is what allows for a loss)",
    )
    num_fewshot: int | None = Field(
        None, ge=0, le=64, description="examples in the prompt; the task's own number by default"
    )
    chat_template: bool = Field(
        False, description="put prompts into the tokenizer's chat template, as lm-eval does"
    )

    @model_validator(mode="after")
    def _measures_one_thing(self) -> "Objective":
        """Refuse what has nothing to measure, or two things."""
        has_task, has_text = self.task is not None, self.text is not None
        wants_text = self.metric in TEXT_METRICS
        wants_task = not wants_text and self.metric not in MODEL_METRICS
        if (has_task, has_text) != (wants_task, wants_text):
            raise PydanticCustomError(
                "objective",
                "expected a task; or a text with metric perplexity or kl; or metric parameters or "
                "layers alone",
            )
        return self

    @property
    def title(self) -> str:
        """What reports call this objective."""
        subject = self.task or (self.text.stem if self.text else "")
        return self.name or ".".join(part for part in (subject, self.metric) if part)

    def benchmark(self, phase: Phase) -> str:
        """The name of the items that measure it in a phase: its task, `text:…` or `model`.

        Where it names no items for the test, the test has a part of those of the search.
        """
        if self.metric in MODEL_METRICS:
            return "model"
        if self.text is not None:
            has_own = phase == "test" and self.test_text is not None
            return f"text:{self.title}{':test' if has_own else ''}"
        return (self.test if phase == "test" else None) or self.task or ""


Choice = str | Annotated[tuple[str, ...], Field(min_length=1)]
Methods = Choice | Annotated[dict[str, Choice], Field(min_length=1)]


def _require_methods(found: object) -> object:
    """One message for all forms; a check by type alone would complain about each."""
    choices = list(found.values()) if isinstance(found, dict) else [found]
    if choices and all(map(_is_choice, choices)):
        return found
    raise PydanticCustomError(
        "methods",
        "expected a merge method, a list of different ones, or a mapping from layer groups "
        "to either",
    )


def _is_choice(found: object) -> bool:
    if isinstance(found, list | tuple):
        return 0 < len(found) == len({*map(repr, found)}) and all(
            isinstance(name, str) for name in found
        )
    return isinstance(found, str)


class Statistics(Section):
    """What is collected from text for the merge methods that need it, see `evomerge prepare`."""

    texts: dict[Name, Path] = Field(
        default_factory=dict,
        description="a text for each model, by the name of an expert or `base`: plain text, or "
        "JSONL with a document a line under `text`, each a sequence of its own",
    )
    n_sequences: int = Field(
        128, ge=1, le=1_000_000, description="sequences of a text, from its beginning, at most"
    )
    sequence_length: int = Field(
        256, ge=2, le=1_000_000, description="tokens of a sequence; longer documents are cut"
    )
    labels: Literal["text", "sampled"] = Field(
        "text",
        description="tokens that Fisher information is about: the text's own, or drawn from what "
        "the model expects there",
    )
    folder: Path | None = Field(
        None,
        description="where statistics are kept; the user's cache by default. For workers on other "
        "machines, a folder that all share",
    )


class Merge(Section):
    """How experts are merged and how finely the search may differ between layers."""

    method: Annotated[Methods, BeforeValidator(_require_methods)] = Field(
        "task_arithmetic",
        description="merge method, see `evomerge methods`; a list: the search chooses one for each "
        "layer group; a mapping: a method or a list for `default`, embeddings, layers, attention, "
        "mlp, other, final_norm, head, or a layer group by its name",
    )
    granularity: int = Field(
        1, ge=1, le=1024, description="layers per group; smaller means more genes"
    )
    split_modules: bool = Field(
        False, description="give attention, mlp and the rest of a layer genes of their own"
    )
    routers: bool = Field(
        False,
        description="merge the routers of a mixture of experts, with genes of their own; otherwise "
        "they are the base's",
    )
    tokenizer: str | None = Field(
        None,
        description="base: merge experts with other tokenizers into the base's, token by token; "
        "not needed where tokenizers differ in padding or in tokens that one has beyond the other",
    )
    statistics: Statistics = Statistics()


class Search(Section):
    """Who proposes candidates."""

    controller: str = Field("nsga2", description="controller, see `evomerge controllers`")
    population: int = Field(16, ge=2, le=100_000, description="candidates the controller keeps")
    window: int = Field(
        8, ge=1, le=100_000, description="how many proposals may be without a told outcome"
    )


def _require_count(found: object) -> object:
    """One message for both forms; a check by type alone would complain about each."""
    if isinstance(found, int | float) and not isinstance(found, bool):
        is_share = 0 <= found < 1
        if is_share or (found >= 2 and found == int(found)):
            return found
    raise PydanticCustomError(
        "items", "expected a share of the items below 1, or a number of items from 2 on"
    )


ItemCount = Annotated[float, BeforeValidator(_require_count)]


class Scoring(Section):
    """How a candidate is scored."""

    items: int = Field(
        120,
        ge=2,
        description="items per search task that a candidate is asked; with `estimator: irt` some "
        "are common to a generation and the others chosen for the candidate",
    )
    mode: Literal["packed", "exact"] = Field(
        "packed",
        description="exact: lm-eval's own batches and padding, to the last bit; packed: only the "
        "tokens that are needed, every decision as lm-eval's",
    )
    estimator: Literal["mean", "irt"] = Field(
        "mean",
        description="from item results to an objective. mean: of the items scored; irt: what the "
        "mean over all items of the search task would be, by a response model",
    )
    bank: Path | None = Field(
        None,
        description="folder of item banks `<task>.bank.json`, as `evomerge calibrate` writes them, "
        "for `estimator: irt`; without it the run fits its own",
    )
    selection: ItemCount = Field(
        0.2,
        description="items of each search task that the search never asks, to score its best "
        "candidates again and choose the front: a share of the task below 1, or a number; 0: none",
    )
    held_out: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of a search task kept for the final test where the objective names none",
    )
    rotation: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of a candidate's common items that each generation exchanges; by "
        "default 0.25 with `estimator: irt` and none with `mean`, as means of different items "
        "cannot be compared",
    )
    calibration: int = Field(
        40,
        ge=8,
        le=100_000,
        description="candidates scored on all items, from which `estimator: irt` learns the items "
        "where it is given no bank",
    )
    threads: int = Field(1, ge=1, le=1024, description="CPU threads of a worker")
    dtype: Literal["auto", "base", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="dtype the forward pass computes in; auto: float32 on a CPU, else the base's. "
        "Merged weights are always rounded to the base's dtype first",
    )
    batch_size: int = Field(64, ge=1, le=65_536, description="sequences per forward pass")
    timeout_s: float | None = Field(
        None,
        gt=0,
        le=LONGEST_S,
        description="seconds after which a candidate counts as failed",
    )


class Budget(Section):
    """When the search ends."""

    evaluations: int = Field(96, ge=1, le=10_000_000, description="candidates, failures included")
    wall_time_s: float | None = Field(
        None,
        gt=0,
        le=LONGEST_S,
        description="ask no more so many seconds after a start or resume; `mode: async` only",
    )


COUNTED_BY_RAY = ("CPU", "GPU", "memory", "object_store_memory")


def _require_countable(amount: float) -> float:
    """Ray counts in ten-thousandths."""
    if round(amount, 4) == amount:
        return amount
    raise PydanticCustomError("amount", "expected at most four decimals, which is what Ray counts")


def _require_shareable(amount: float) -> float:
    if amount <= 1 or amount.is_integer():
        return amount
    raise PydanticCustomError(
        "gpus", "expected a whole number of GPUs, or a part of a single one such as 0.5"
    )


def _require_own_name(name: str) -> str:
    if name not in COUNTED_BY_RAY:
        return name
    raise PydanticCustomError(
        "custom", "Ray counts this by itself; expected `num_cpus`, `num_gpus` or `memory_gb` for it"
    )


CpuAmount = Annotated[float, Field(gt=0, le=4096), AfterValidator(_require_countable)]
GpuAmount = Annotated[
    float,
    Field(ge=0, le=64),
    AfterValidator(_require_countable),
    AfterValidator(_require_shareable),
]
CustomName = Annotated[Name, AfterValidator(_require_own_name)]
CustomAmount = Annotated[PositiveFloat, AfterValidator(_require_countable)]


class Resources(Section):
    """What one worker takes of its node; Ray places workers where there is that much."""

    num_cpus: CpuAmount | None = Field(
        None, description="CPUs; as many as scoring.threads by default"
    )
    num_gpus: GpuAmount = Field(0.0, description="GPUs, in fractions where several share")
    memory_gb: float | None = Field(None, gt=0, le=1e6, description="memory in 10⁹ bytes")
    custom: dict[CustomName, CustomAmount] = Field(
        default_factory=dict, description="other resources that the nodes of a cluster declare"
    )


class Tracking(Section):
    """Where the run can be watched."""

    mlflow: bool = Field(True, description="project the run to MLflow")


class Experiment(Section):
    """An experiment: models, objectives, how to merge, how to search, when to stop."""

    base: Path = Field(description="folder of the base model, Hugging Face format, safetensors")
    experts: dict[Name, Path] = Field(
        min_length=1, description="fine-tuned models of the same architecture, by name"
    )
    tasks_path: Path | None = Field(
        None, description="folder of your own lm-eval tasks (YAML beside JSONL)"
    )
    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=16)
    merge: Merge = Merge()
    search: Search = Search()
    scoring: Scoring = Scoring()
    budget: Budget = Budget()
    workers: Workers = Field(
        0, description="Ray workers; 0: score in this process; auto: as many as the cluster holds"
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Ray cluster to join, host:port or auto; by default one starts on this machine",
    )
    resources: Resources = Resources()
    mode: Literal["deterministic", "async"] = "deterministic"
    seed: int = Field(0, ge=0, lt=2**32)
    tracking: Tracking = Tracking()
