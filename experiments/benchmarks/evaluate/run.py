"""How long scoring takes beside lm-eval's `simple_evaluate` and beside the bare forward passes.

    python experiments/benchmarks/evaluate/run.py [--mergekit PYTHON] [--json]

All on the same model in memory, one thread, float32. `simple_evaluate` gets the same items as
`samples` and its report of the environment, which takes a second, is patched out. Times are the
best of a few rounds, in processor seconds, so that other work on the machine disturbs little;
`/forward` is all of a scoring over what of it was spent inside the model's own forward passes, the
median of the rounds. Agreement is item by item, on the zoo and on tiny random models of six
architectures, in both modes: the metric and the answer, and how far likelihoods are apart. With
`--mergekit`, a candidate from recipe to scores beside mergekit, `from_pretrained` and lm-eval.
"""

import argparse
import inspect
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import agreement
import candidate
import numpy as np
import torch
from lm_eval_side import evaluate, wrap

from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.item_sets import Wanted, split_items
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer

ZOO = Path(__file__).parents[2] / "zoo"
SIZES = (20, 120, 500)
BATCH_SIZE = 32
TIMED = (
    ("german_test", "acc"),
    ("math_de_test", "exact_match"),
    ("math_de_test", "output_length"),
)
"""Choices; answers that are mostly foretold; answers that must be generated."""


class ForwardClock:
    """Processor seconds spent inside a model's forward passes."""

    def __init__(self, resident: ResidentModel) -> None:
        self.seconds = 0.0
        self._forward = resident.model.forward
        timed = self._timed
        timed_signature = inspect.signature(self._forward)

        def forward(*args: object, **kwargs: object) -> object:
            return timed(*args, **kwargs)

        forward.__signature__ = timed_signature  # type: ignore[attr-defined]
        resident.model.forward = forward

    def _timed(self, *args: object, **kwargs: object) -> object:
        start = time.process_time()
        output = self._forward(*args, **kwargs)
        self.seconds += time.process_time() - start
        return output


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of lm-eval; thrice as many of ours")
    parser.add_argument("--mergekit", help="a Python that has mergekit")
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    found["speed"] = speed = list(measure_all(options.rounds))
    print_table(speed)
    found["agreement"] = agreeing = list(compare_all())
    print_table(agreeing)
    if options.mergekit:
        found["candidate"] = seconds = candidate.compare(ZOO, options.mergekit)
        print_table([seconds])
    if options.json:
        print(json.dumps(found))


def measure_all(rounds: int) -> Iterable[dict[str, object]]:
    """A row of times for each task, metric and number of items."""
    resident = ResidentModel.from_folder(ZOO / "models" / "base", dtype=torch.float32)
    clock = ForwardClock(resident)
    for task, metric in TIMED:
        for n_items in SIZES:
            yield measure(resident, clock, task, metric, n_items, rounds)


def measure(
    resident: ResidentModel,
    clock: ForwardClock,
    task: str,
    metric: str,
    n_items: int,
    rounds: int,
) -> dict[str, object]:
    """Times of scoring a subset, ours and lm-eval's."""
    tasks_path = (ZOO / "tasks").resolve()
    benchmark = load_benchmarks([task], tasks_path=tasks_path, metrics={task: [metric]})[task]
    items = tuple(sorted(split_items(task, benchmark.contents, Wanted(), seed=0).search[:n_items]))
    scorer = Scorer(resident, {task: benchmark}, batch_size=BATCH_SIZE)
    lm = wrap(resident, BATCH_SIZE)
    first_s = seconds_of(lambda: scorer.score(task, items))
    ratios, ours = [], []
    for _ in range(3 * rounds):
        clock.seconds = 0.0
        ours.append(seconds_of(lambda: scorer.score(task, items)))
        ratios.append(ours[-1] / clock.seconds)
    theirs = [seconds_of(lambda: evaluate(lm, {task: items}, tasks_path)) for _ in range(rounds)]
    return {
        "task": task,
        "metric": metric,
        "items": n_items,
        "first_s": first_s,
        "score_s": min(ours),
        "lm_eval_s": min(theirs),
        "/forward": float(np.median(ratios)),
        "speed-up": min(theirs) / min(ours),
    }


def compare_all() -> Iterable[dict[str, object]]:
    """A row of agreement for each model, task and mode."""
    for name in ("base", "german", "math"):
        resident = ResidentModel.from_folder(ZOO / "models" / name, dtype=torch.float32)
        tasks = ("german_test", "math_de_test", "lists_test")
        yield from agreement.compare(name, resident, tasks, (ZOO / "tasks").resolve(), 500)
    tasks = ("german_test", "math_de_test")
    for name, resident in agreement.random_models(ZOO / "models" / "base"):
        yield from agreement.compare(name, resident, tasks, (ZOO / "tasks").resolve(), 100)


def seconds_of(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of the same columns, under their names."""
    columns = list({name: None for row in rows for name in row})
    cells = [columns, *([shown(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def shown(value: object) -> str:
    """A number with three significant figures, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
