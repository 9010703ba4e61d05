"""A forecast for humans: what it takes, what it needs, what it can tell, what it rests on."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from evomerge.run.forecast import Forecast, Span

GIB, MIB = 1 << 30, 1 << 20


def print_forecast(forecast: Forecast) -> None:
    """Print the forecast; numbers after `to` are the high ends of ranges."""
    console = Console(highlight=False, markup=False)
    for line in (*_work(forecast), *_needs(forecast)):
        console.print(line, soft_wrap=True)
    console.print(_resolutions(forecast))
    console.print("A difference shows at the 5 % level, one of that size in half of all cases; in")
    console.print("80 % of them, 1.43 times as much. Paired: both candidates on the same items.")
    for line in forecast.assumed:
        console.print(f"assumed: {line}", soft_wrap=True)


WORDS = {
    "baselines": "baselines",
    "calibration": "candidates on all items of the search",
    "search": "candidates",
    "selection": "models on the selection items",
    "test": "models on the test items",
}


def _work(forecast: Forecast) -> list[str]:
    shown = {kind: work for kind, work in forecast.work.items() if work.n_models.high}
    lines = [
        f"{_counts(work.n_models)} {WORDS[kind]}, {work.n_items} items and "
        f"{_seconds(work.seconds)} each: {_counts(work.n_models.times(work.n_items))} items"
        for kind, work in shown.items()
    ]
    workers = "1 worker" if forecast.n_workers == 1 else f"{forecast.n_workers} workers at once"
    return [
        *(f"{'' if i else 'evaluations':<12} {line}" for i, line in enumerate(lines)),
        f"time         {_clock(forecast.total_s.expected)} "
        f"({_clock(forecast.total_s.low)} to {_clock(forecast.total_s.high)}), {workers}, "
        f"start {forecast.start_s:.1f} s, merge {forecast.merge_s:.3f} s",
    ]


def _needs(forecast: Forecast) -> list[str]:
    memory, sizes = forecast.memory_bytes, forecast.sizes
    return [
        f"memory       {_size(memory['total'])} in all: {_memory_parts(memory)}",
        f"disk         {_size(sizes.run_dir)}: {sizes.journal_per_evaluation / 1024:.1f} KiB of "
        "journal an evaluation, pages of the front; an exported model "
        f"{_size(sizes.exported_model)}",
    ]


def _memory_parts(memory: Mapping[str, int]) -> str:
    words = {"driver": "driver", "worker": "each worker", "tracking": "MLflow", "ray": "Ray"}
    return ", ".join(f"{words[part]} {_size(memory[part])}" for part in words if memory[part])


def _resolutions(forecast: Forecast) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("objective", "items", "of", "se", "worst", "unpaired", "paired"):
        table.add_column(heading, justify="left" if heading == "objective" else "right")
    for name, phases in forecast.objectives.items():
        for phase, own in phases.items():
            low, high = own.se or (None, None)
            table.add_row(
                name if phase == "search" else f"  on the {phase} items",
                str(own.n_items),
                str(own.n_documents),
                "–" if low is None else f"{low:.3f}–{high:.3f}",
                _number(own.worst_se),
                _number(own.unpaired),
                _number(own.paired),
            )
    return table


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _seconds(span: Span) -> str:
    return f"{span.expected:.2f} s ({span.low:.2f} to {span.high:.2f})"


def _counts(span: Span) -> str:
    if span.low == span.high:
        return f"{span.expected:.0f}"
    return f"{span.low:.0f} to {span.high:.0f}"


def _clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / GIB:.1f} GiB" if n_bytes >= GIB else f"{n_bytes / MIB:.0f} MiB"
