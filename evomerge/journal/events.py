"""What can happen in a run, as frozen values: the vocabulary of the journal.

Every event carries `time_s`, seconds since the epoch, stamped by the journal when it is appended.
Events hold facts only; estimates, fronts and plots are computed from them (`journal.state`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from evomerge.records import Candidate, Failure, ItemScores, Phase, Recipe, Result

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """The part that all events share: when the journal wrote them down."""

    time_s: float = 0.0


@dataclass(frozen=True)
class Started(Stamped):
    """The run exists: its resolved experiment as JSON, its identity, and who made it."""

    experiment: dict[str, JsonValue]
    digest: str
    run_id: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Asked(Stamped):
    """The controller proposed candidate `number`.

    `attempt` counts how often that number was asked: a proposal that decodes to a recipe which is
    already known may be asked again. The last attempt of a number is the one that counts.
    """

    number: int
    attempt: int
    candidate_id: str
    genome: tuple[float, ...]
    recipe: Recipe

    @property
    def candidate(self) -> Candidate:
        """The candidate that this ask produced."""
        return Candidate(self.number, self.genome, self.recipe)


@dataclass(frozen=True)
class Proposed(Stamped):
    """A job is about to be handed to a worker; written again when it is handed out again.

    What the job is follows from the ask and from the run's plan.
    """

    candidate_id: str
    phase: Phase = "search"


@dataclass(frozen=True)
class Lost(Stamped):
    """A worker died or hung while it had this candidate, which will be handed out again."""

    failure: Failure


@dataclass(frozen=True)
class Calibrated(Stamped):
    """The item banks that turn item results into estimates from here on, and for all before.

    `banks` holds the bank of each search task as `irt` writes it, its digest included; a task whose
    responses no bank could be fitted to has None there and the reason in `notes`.
    """

    banks: Mapping[str, dict[str, JsonValue] | None]
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Scored(Stamped):
    """A worker sent back per-item results."""

    scores: ItemScores

    @property
    def result(self) -> Result:
        """What became of the candidate, whether it was scored or failed."""
        return self.scores


@dataclass(frozen=True)
class Failed(Stamped):
    """A candidate could not be evaluated."""

    failure: Failure

    @property
    def result(self) -> Result:
        """What became of the candidate, whether it was scored or failed."""
        return self.failure


@dataclass(frozen=True)
class Duplicate(Stamped):
    """A result that came after another one of the same candidate and phase had been recorded.

    Kept to count wasted work and to compare repeated evaluations; it never replaces the first.
    """

    result: Result


@dataclass(frozen=True)
class Told(Stamped):
    """The controller learned the outcome of candidate `number`; `order` counts the tells from 0."""

    order: int
    number: int
    candidate_id: str


@dataclass(frozen=True)
class Selected(Stamped):
    """The search is over, and these are scored again on fresh items, the best of them first."""

    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Stopped(Stamped):
    """The run was interrupted in good order, for `reason`, and can be continued."""

    reason: str


@dataclass(frozen=True)
class Finished(Stamped):
    """The run is complete: its front, and the candidate that stands for each named baseline."""

    front: tuple[str, ...]
    baselines: Mapping[str, str]


Event = (
    Started
    | Asked
    | Proposed
    | Lost
    | Scored
    | Failed
    | Duplicate
    | Told
    | Calibrated
    | Selected
    | Stopped
    | Finished
)
