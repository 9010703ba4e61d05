"""When the search may ask, and what it may be told: the window and the reorder buffer as one.

Deterministic mode: candidate k is proposed exactly after the outcomes of candidates 0 … k−W have
been told, in the order of the proposals. So the steps alternate strictly: ask while fewer than W
candidates are out and the budget lasts, else tell the next number. Which sequence of steps happens
depends on W and the budget alone, neither on the arrival of results nor on the number of workers.

Async mode: ask under the same limit of W candidates out, tell in the order of arrival. The sequence
then depends on the workers; the journal records it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from evomerge.errors import UsageError

Mode = Literal["deterministic", "async"]


@dataclass(frozen=True)
class Step:
    """What to do next: ask for candidate `number`, or tell its outcome."""

    action: Literal["ask", "tell"]
    number: int


class Window:
    """Turns arrivals into steps; `steps` until it runs dry, then wait for a result and `arrive`.

    A resumed run gives what its journal holds: how many were `asked` and which were `told`, in
    order; then calls `arrive` for each result that is there.

    Args:
        size: W, how many candidates may be out (asked and not told), at least 1.
        budget: how many candidates there will be.

    Raises:
        UsageError: size or budget below 1, or a past that this window could not have produced.
    """

    def __init__(
        self,
        size: int,
        budget: int,
        mode: Mode = "deterministic",
        *,
        asked: int = 0,
        told: Iterable[int] = (),
    ) -> None:
        self.size, self.budget, self.mode = size, budget, mode
        self.n_asked = asked
        self._told = dict.fromkeys(told)
        self._arrived: dict[int, None] = {}
        self._out = dict.fromkeys(n for n in range(asked) if n not in self._told)
        self._require_possible()

    @property
    def n_told(self) -> int:
        """How many outcomes have been told."""
        return len(self._told)

    @property
    def out(self) -> list[int]:
        """The numbers that were asked and whose result has not arrived, ascending."""
        return list(self._out)

    @property
    def done(self) -> bool:
        """Whether the whole budget has been asked and told."""
        return self.n_told == self.budget

    def arrive(self, number: int) -> None:
        """Note that the outcome of `number` is there; more than once changes nothing.

        Raises:
            UsageError: that number was never asked.
        """
        if not 0 <= number < self.n_asked:
            raise UsageError(
                f"a result arrived for candidate {number}, but only {self.n_asked} were asked; "
                "it belongs to another run"
            )
        if number in self._out:
            del self._out[number]
            self._arrived[number] = None

    def close(self, n_asked: int) -> None:
        """Ask no more: the first `n_asked` candidates are all that there will be."""
        self.n_asked = self.budget = n_asked

    def steps(self) -> Iterator[Step]:
        """Every step that can be taken now, in order; ends when a result must arrive first.

        A step counts as taken when it is yielded, so take it before asking for the next. A result
        that arrives in between is seen.
        """
        while (step := self._next()) is not None:
            yield step

    def _next(self) -> Step | None:
        if self.n_asked < self.budget and self.n_asked - self.n_told < self.size:
            return self._ask()
        number = self._next_to_tell()
        return None if number is None else self._tell(number)

    def _ask(self) -> Step:
        number = self.n_asked
        self.n_asked += 1
        self._out[number] = None
        return Step("ask", number)

    def _tell(self, number: int) -> Step:
        del self._arrived[number]
        self._told[number] = None
        return Step("tell", number)

    def _next_to_tell(self) -> int | None:
        if self.mode == "deterministic":
            return self.n_told if self.n_told in self._arrived else None
        return next(iter(self._arrived), None)

    def _require_possible(self) -> None:
        if self.size < 1 or self.budget < 1:
            raise UsageError(
                f"window {self.size} and budget {self.budget}, expected both to be at least 1"
            )
        in_order = self.mode == "async" or list(self._told) == list(range(self.n_told))
        known = all(0 <= number < self.n_asked for number in self._told)
        fits = self.n_asked <= self.budget and self.n_asked - self.n_told <= self.size
        if not (in_order and known and fits):
            raise UsageError(
                f"{self.n_asked} candidates asked and {self.n_told} told is not a past of a "
                f"{self.mode} search with window {self.size} and budget {self.budget}; "
                "continue the run with the experiment that started it"
            )
