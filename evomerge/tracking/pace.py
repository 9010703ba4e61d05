"""How fast a search goes, and when it will be done."""

from collections import deque
from collections.abc import Callable
from time import monotonic


class Pace:
    """Evaluations per minute over the last ones of this session.

    The clock is this process's own, so that a pause between a kill and a resume does not count.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, window: int = 48) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque(maxlen=window)

    def mark(self, n_done: int) -> None:
        """Remember that `n_done` evaluations are done now."""
        self._marks.append((self._clock(), n_done))

    @property
    def per_minute(self) -> float | None:
        """Evaluations a minute, or nothing before two moments are known."""
        if len(self._marks) < 2:
            return None
        (start_s, first), (end_s, last) = self._marks[0], self._marks[-1]
        return 60 * (last - first) / (end_s - start_s) if end_s > start_s else None

    def remaining_s(self, n_left: int) -> float | None:
        """Seconds until `n_left` more evaluations are done, at the present pace."""
        rate = self.per_minute
        return 60 * n_left / rate if rate else None


def clock_text(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
