"""The live panel, the plain lines, and the pace behind both."""

import io

import pytest
from rich.console import Console

from evomerge.records import Progress
from evomerge.tracking.live import LiveView, PlainLines, live_view, sparkline
from evomerge.tracking.pace import Pace, clock_text


class Clock:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(n_done: int, n_total: int = 40) -> Progress:
    return Progress(
        n_done=n_done,
        n_failed=2,
        n_total=n_total,
        best={"math [de]": 0.912, "lists": 0.5},
        hypervolume=0.4321,
        n_front=7,
        failures={"timeout": 1, "non_finite": 1},
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_without_a_terminal_there_are_lines_and_no_control_characters(stream: io.StringIO) -> None:
    view = live_view("quickstart", Console(file=stream))
    view.show(progress(1))
    view.note("scoring the baselines")
    view.close("finished")
    assert isinstance(view, PlainLines)
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_line_says_everything_a_spectator_asks(stream: io.StringIO, clock: Clock) -> None:
    view = PlainLines("quickstart", Console(file=stream), clock)
    view.show(progress(1))
    clock.now = 30.0
    view.show(progress(11))
    assert stream.getvalue().splitlines()[-1] == (
        "quickstart: 11/40 | hypervolume 0.4321 | front 7 | best math [de] 0.912, lists 0.500 | "
        "failed 2 (timeout 1, non_finite 1) | 20.0/min | ETA 1:27"
    )


def test_lines_come_first_then_every_five_seconds_then_last(
    stream: io.StringIO, clock: Clock
) -> None:
    view = PlainLines("q", Console(file=stream), clock)
    for second in range(12):
        clock.now = float(second)
        view.show(progress(second + 1))
    view.close("killed")
    shown = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert shown == ["1/40", "6/40", "11/40", "12/40"]


def test_the_last_evaluation_is_shown_once(stream: io.StringIO, clock: Clock) -> None:
    view = PlainLines("q", Console(file=stream), clock)
    view.show(progress(39))
    view.show(progress(40))
    view.close("finished")
    shown = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert shown == ["39/40", "40/40"]


def test_on_a_terminal_a_panel_shows_progress_and_failures(stream: io.StringIO) -> None:
    view = live_view("quickstart", Console(file=stream, force_terminal=True, width=100))
    view.show(progress(1))
    view.show(progress(2))
    view.note("a note")
    view.close("finished")
    text = stream.getvalue()
    assert isinstance(view, LiveView)
    for part in ("quickstart", "2/40", "0.4321", "math [de]", "0.912", "timeout 1", "a note"):
        assert part in text


def test_the_view_writes_to_standard_error_only(capsys: pytest.CaptureFixture[str]) -> None:
    view = live_view("quickstart")
    view.show(progress(1))
    view.close("finished")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1/40" in captured.err


def test_pace_counts_this_session_only(clock: Clock) -> None:
    pace = Pace(clock)
    pace.mark(80)  # resumed: 80 were done before
    clock.now = 60.0
    pace.mark(90)
    assert pace.per_minute == 10
    assert pace.remaining_s(20) == 120


def test_pace_is_unknown_at_first(clock: Clock) -> None:
    pace = Pace(clock)
    pace.mark(1)
    assert pace.per_minute is None
    assert pace.remaining_s(5) is None


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (87.4, "1:27"), (3723, "1:02:03")])
def test_durations_read_like_clocks(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_a_sparkline_spans_its_values_and_skips_what_is_not_finite() -> None:
    assert sparkline([0.0, float("nan"), 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""
    assert len(sparkline([float(i) for i in range(1000)])) <= 32
