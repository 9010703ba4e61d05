"""What the events of a run add up to: the read model that resuming and every view share.

A pure function of the events: no clock, no file, no estimate.
"""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from evomerge.errors import JournalError
from evomerge.journal.events import (
    Asked,
    Calibrated,
    Duplicate,
    Event,
    Failed,
    Finished,
    Lost,
    Proposed,
    Scored,
    Selected,
    Started,
    Stopped,
    Told,
)
from evomerge.records import Candidate, Failure, Phase, Result

ResultKey = tuple[str, Phase]
"""Candidate id and phase: what may have one result."""


@dataclass
class RunState:
    """A run as far as its events tell; `add` brings it up to date with one more event.

    `candidates` holds what was asked, by number in the order of the asks; `n_attempts` how often a
    job was handed out for each candidate and phase, `n_lost` how often its worker was lost; `told`
    the tells in order; `stopped` is the last event when the run was interrupted and not continued
    since.
    """

    started: Started | None = None
    candidates: dict[int, Candidate] = field(default_factory=dict)
    n_attempts: Counter[ResultKey] = field(default_factory=Counter)
    n_lost: Counter[ResultKey] = field(default_factory=Counter)
    results: dict[ResultKey, Result] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    n_duplicates: int = 0
    calibrated: Calibrated | None = None
    selected: Selected | None = None
    stopped: Stopped | None = None
    finished: Finished | None = None
    time_s: float = 0.0
    _numbers: dict[str, set[int]] = field(default_factory=dict)
    _done: dict[int, None] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)

    @property
    def n_asked(self) -> int:
        """How many candidates were asked: the number of the next one."""
        return len(self.candidates)

    @property
    def n_done(self) -> int:
        """How many of the asked candidates have a result in the search, failures included."""
        return len(self._done)

    @property
    def n_failed(self) -> int:
        """How many of the asked candidates failed in the search."""
        return self._failures.total()

    @property
    def failures(self) -> dict[str, int]:
        """The failed candidates of the search, counted by reason."""
        return dict(+self._failures)

    @property
    def done(self) -> list[int]:
        """The numbers of the candidates with a result in the search, in the order they got it."""
        return list(self._done)

    @property
    def open(self) -> list[Candidate]:
        """Asked candidates without a result in the search, by number: what a resumed run scores.

        A candidate that was asked and not yet proposed when the run died is among them.
        """
        return [c for number, c in self.candidates.items() if number not in self._done]

    @property
    def is_rescored(self) -> bool:
        """Whether all that were selected have a result on fresh items, failures included."""
        return self.selected is not None and all(
            (id_, "selection") in self.results for id_ in self.selected.candidates
        )

    @property
    def told_numbers(self) -> list[int]:
        """The numbers of the told candidates in the order of the tells."""
        return [told.number for told in self.told]

    def result(self, candidate_id: str, phase: Phase = "search") -> Result | None:
        """What became of a candidate in a phase, or None as long as nobody knows."""
        return self.results.get((candidate_id, phase))

    def numbers_of(self, candidate_id: str) -> list[int]:
        """The numbers under which a candidate was asked, ascending; none for a baseline."""
        return sorted(self._numbers.get(candidate_id, ()))

    def knows(self, candidate_id: str) -> bool:
        """Whether this merge was asked before or has a result in the search already."""
        return bool(self._numbers.get(candidate_id)) or (candidate_id, "search") in self.results

    def add(self, event: Event) -> None:
        """Bring the state up to date with the next event.

        Raises:
            JournalError: the event contradicts the ones before it.
        """
        self.time_s = event.time_s
        self.stopped = None
        match event:
            case Started():
                self.started = event
            case Asked():
                self._add_asked(event)
            case Proposed():
                self.n_attempts[(event.candidate_id, event.phase)] += 1
            case Lost(failure):
                self.n_lost[(failure.candidate_id, failure.phase)] += 1
            case Scored() | Failed():
                self._add_result(event.result)
            case Duplicate():
                self.n_duplicates += 1
            case Told():
                self._add_told(event)
            case Calibrated():
                self.calibrated = event
            case Selected():
                self.selected = event
            case Stopped():
                self.stopped = event
            case Finished():
                self.finished = event

    def _add_asked(self, event: Asked) -> None:
        candidate = event.candidate
        if candidate.id != event.candidate_id:
            raise JournalError(
                f"candidate {event.number} is recorded as {event.candidate_id}, but its recipe "
                f"has the digest {candidate.id}; the journal was written by another version of "
                "evomerge: continue it with that version"
            )
        if event.number in self.candidates:
            self._withdraw(event.number)
        self.candidates[event.number] = candidate
        self._numbers.setdefault(candidate.id, set()).add(event.number)
        if known := self.result(candidate.id):
            self._mark_done(event.number, known)

    def _withdraw(self, number: int) -> None:
        candidate_id = self.candidates[number].id
        self._numbers[candidate_id].discard(number)
        if number in self._done:
            del self._done[number]
            known = self.result(candidate_id)
            if isinstance(known, Failure):
                self._failures[known.reason] -= 1

    def _add_result(self, result: Result) -> None:
        key = (result.candidate_id, result.phase)
        self.results[key] = result
        if result.phase == "search":
            for number in self.numbers_of(result.candidate_id):
                self._mark_done(number, result)

    def _mark_done(self, number: int, result: Result) -> None:
        self._done[number] = None
        if isinstance(result, Failure):
            self._failures[result.reason] += 1

    def _add_told(self, event: Told) -> None:
        if event.order != len(self.told) or event.number not in self.candidates:
            raise JournalError(
                f"the journal tells candidate {event.number} as number {event.order} in order, "
                f"expected order {len(self.told)} and a candidate that was asked; the run cannot "
                "be continued: start a new one in another directory"
            )
        self.told.append(event)


def fold(events: Iterable[Event]) -> RunState:
    """The state that the events of a run add up to, from the first to the last."""
    state = RunState()
    with _no_search_for_cycles():
        for event in events:
            state.add(event)
    return state


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Events hold no reference cycles, and looking for them took a third of reading a long run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
