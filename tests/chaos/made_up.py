"""Made-up merges: the real loop, journal and pool, and evaluators that need no model."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evomerge.journal.events import Asked, Duplicate, Event, Failed, Lost, Proposed, Scored, Told
from evomerge.journal.journal import Journal
from evomerge.journal.spool import Spool, answers
from evomerge.merge.methods import METHODS
from evomerge.records import Outcome
from evomerge.run.dispatch import Dispatcher
from evomerge.run.estimates import Objectives, ObjectiveTasks
from evomerge.run.loop import Search, run_search
from evomerge.run.record import Record
from evomerge.run.spooled import collect
from evomerge.search.ordered import Mode, Window
from evomerge.search.space import SearchSpace
from evomerge.search.table import CONTROLLERS
from evomerge.workers.pool import Pool

OBJECTIVES = Objectives(
    (ObjectiveTasks("left", "left", None), ObjectiveTasks("right", "right", None))
)
ITEMS = {"left": tuple(range(100)), "right": tuple(range(100))}
GROUPS = tuple(f"layers.{k}-{k}" for k in range(4))
SPACE = SearchSpace(dict.fromkeys(GROUPS, (METHODS["task_arithmetic"],)), ("a", "b", "c"), seed=0)


def search_in(
    record: Record,
    n_evaluations: int,
    *,
    mode: Mode = "deterministic",
    on_told: Callable[[Outcome], None] = lambda _: None,
) -> Search:
    """The search that a journal holds, ready to go on."""
    state = record.state
    search = Search(
        record=record,
        build_controller=lambda: CONTROLLERS["nsga2"].build(SPACE.n_dims, 16, 0),
        space=SPACE,
        window=Window(16, n_evaluations, mode, asked=state.n_asked, told=state.told_numbers),
        objectives=OBJECTIVES,
        items=lambda _: ITEMS,
        seed=0,
        on_told=on_told,
    )
    search.replay()
    return search


def events_of(path: Path) -> list[Event]:
    """Everything that a journal holds."""
    with Journal.open(path, read_only=True) as journal:
        return list(journal.replay())


def failures_in(path: Path) -> list[tuple[str, str]]:
    """Candidate and reason of every failure in a journal."""
    failed = [event.failure for event in events_of(path) if isinstance(event, Failed)]
    return [(failure.candidate_id, failure.reason) for failure in failed]


@dataclass(frozen=True)
class Account:
    """What a journal says became of the candidates of a search.

    `lost` counts candidates without an outcome that was told, `repeated` those that were handed
    out after they had a result or were told twice, `retried` the attempts that cost a worker.
    """

    asked: int
    scored: int
    told: tuple[int, ...]
    repeated: int
    retried: int

    @property
    def lost(self) -> int:
        """Candidates that were asked and never told."""
        return self.asked - len(set(self.told))

    @classmethod
    def of(cls, events: list[Event]) -> "Account":
        """Go through a journal from its first event."""
        with_result: set[str] = set()
        told: list[int] = []
        n: Counter[str] = Counter()
        for event in events:
            match event:
                case Asked():
                    n["asked"] += 1
                case Proposed(candidate_id=id_) if id_ in with_result:
                    n["repeated"] += 1
                case Scored():
                    with_result.add(event.scores.candidate_id)
                    n["scored"] += 1
                case Duplicate():
                    n["repeated"] += 1
                case Lost():
                    n["retried"] += 1
                case Told():
                    told.append(event.number)
        twice = len(told) - len(set(told))
        return cls(n["asked"], n["scored"], tuple(told), n["repeated"] + twice, n["retried"])


def run_in(
    path: Path, pool: Pool, n_evaluations: int, *, spool: Spool, mode: Mode = "deterministic"
) -> Account:
    """Begin or continue a search in the journal at `path`, and take it to its end."""
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        record = Record(journal)
        collect(spool, record, lambda result: answers(result, ITEMS))
        search = search_in(record, n_evaluations, mode=mode)
        run_search(search, Dispatcher(record, pool, on_recorded=spool.remove))
    return Account.of(events_of(path))
