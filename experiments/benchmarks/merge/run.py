"""Time to merge a candidate into a live model, beside the time to move the same bytes.

python experiments/benchmarks/merge/run.py [--billion] [--repeats 7] [--mergekit PYTHON] [--json]

A Llama-shaped base of 100 million parameters (or of a billion) and three experts in bfloat16, files
in the page cache, two threads. The bound reads the bytes of all four models and writes those of
one, and is measured in turn with each method; ratios are of the fastest of the repeats, in time on
the clock and in processor time of all threads. Every candidate has new values in every group.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from models import EXPERTS, save_models
from numba import njit
from torch import Tensor

from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

FUSED = (
    *("linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"),
    *("breadcrumbs", "breadcrumbs_ties", "della_linear", "della"),
)
SPAN = 1 << 18
HERE = Path(__file__).parent


@dataclass
class Models:
    """The models on disk, and a live one to merge into."""

    folder: Path
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        self.base = open_checkpoint(self.folder / "base")
        self.experts = {name: open_checkpoint(self.folder / name) for name in EXPERTS}
        infos = self.base.infos()
        self.live = {name: torch.zeros(x.shape, dtype=x.dtype) for name, x in infos.items()}
        self.groups = layer_groups(infos, granularity=1, split_modules=False)

    @property
    def n(self) -> int:
        return sum(tensor.numel() for tensor in self.live.values())

    def recipe(self, method: str) -> Recipe:
        """Values drawn between the bounds of the method's parameters."""
        return Recipe(EXPERTS, {group: self.group(method) for group in self.groups})

    def group(self, method: str) -> GroupRecipe:
        def draw(low: float, high: float) -> float:
            return float(self.rng.uniform(low, high))

        values = {
            p.name: tuple(draw(p.low, p.high) for _ in EXPERTS)
            if p.per_expert
            else draw(p.low, p.high)
            for p in METHODS[method].parameters
        }
        return GroupRecipe(method, values)


@njit(nogil=True)
def move(a, b, c, d, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = a[i] ^ b[i] ^ c[i] ^ d[i]


@njit(nogil=True)
def look(a):  # type: ignore[no-untyped-def]
    seen = np.int16(0)
    for i in range(a.size):
        seen ^= a[i]
    return seen


def bits(tensor: Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.int16).numpy()


def in_threads(work: Callable[..., object], groups: list[list[np.ndarray]]) -> None:
    """Run a loop over pieces of arrays of equal lengths in two threads."""
    spans = [
        [x[start : start + SPAN] for x in arrays]
        for arrays in groups
        for start in range(0, len(arrays[0]), SPAN)
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pieces: work(*pieces), spans))


def timed(work: Callable[[], object]) -> np.ndarray:
    """Seconds on the clock and of processor time."""
    start = np.array([time.perf_counter(), time.process_time()])
    work()
    return np.array([time.perf_counter(), time.process_time()]) - start


def sources(models: Models) -> list[Checkpoint]:
    return [models.base, *models.experts.values()]


def bound(models: Models) -> None:
    in_threads(
        move,
        [
            [*(bits(source.read(name)) for source in sources(models)), bits(out)]
            for name, out in models.live.items()
        ],
    )


def one_read(models: Models) -> None:
    in_threads(look, [[bits(x.read(name))] for x in sources(models) for name in models.live])


def to_bound(models: Models, merge: PreparedMerge, method: str, n_repeats: int) -> dict[str, float]:
    """A method's time as a multiple of the bound's."""
    bounds, ours = [], []
    for _ in range(n_repeats):
        recipe = models.recipe(method)
        bounds.append(timed(lambda: bound(models)))
        ours.append(timed(lambda r=recipe: merge.materialise(r, models.live)))
    clock, processor = np.min(ours, 0) / np.min(bounds, 0)
    return {
        f"{method}, clock": clock,
        f"{method}, processor": processor,
        f"{method}, seconds": float(np.min(ours, 0)[0]),
    }


def preparation(models: Models) -> dict[str, float]:
    """What the first TIES candidate takes more than the second, and what it leaves behind."""
    compiled = PreparedMerge(models.base, models.experts)
    compiled.materialise(models.recipe("ties"), models.live)  # the first on a machine compiles
    merge = PreparedMerge(models.base, models.experts)
    recipes = [models.recipe("ties") for _ in range(2)]
    first, second = (
        timed(lambda r=recipe: merge.materialise(r, models.live)) for recipe in recipes
    )
    read = np.min([timed(lambda: one_read(models)) for _ in range(5)], 0)
    n_bytes = sum(x.read(name).nbytes for x in sources(models) for name in models.live)
    return {
        "preparation to one read, clock": ((first - second) / read)[0],
        "preparation to one read, processor": ((first - second) / read)[1],
        "sketches to sources, bytes": merge.sketch_bytes / n_bytes,
    }


def one_group(models: Models, n_repeats: int) -> dict[str, float]:
    """A candidate that differs in a single layer, as a fraction of a whole one."""
    merge = PreparedMerge(models.base, models.experts)
    whole, part = [], []
    for _ in range(n_repeats):
        recipe = models.recipe("task_arithmetic")
        whole.append(timed(lambda r=recipe: merge.materialise(r, models.live)))
        changed = dict(recipe.groups) | {"layers.3-3": models.group("task_arithmetic")}
        other = Recipe(EXPERTS, changed)
        part.append(timed(lambda r=other: merge.materialise(r, models.live)))
    return {"one changed layer to all, clock": (np.min(part, 0) / np.min(whole, 0))[0]}


def script(name: str, folder: Path, python: str, *arguments: str) -> dict[str, float]:
    """The numbers that a script beside this one prints as JSON."""
    command = [python, str(HERE / name), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def parts(models: Models, options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """The table, some rows at a time."""
    seconds: dict[str, float] = {}
    yield {"parameters": float(models.n)} | preparation(models)
    merge = PreparedMerge(models.base, models.experts)
    for method in FUSED:
        merge.materialise(models.recipe(method), models.live)  # makes the sketches
        found = to_bound(models, merge, method, options.repeats)
        seconds[method] = found[f"{method}, seconds"]
        yield found
    yield one_group(models, options.repeats)
    yield script("memory.py", models.folder, sys.executable)
    for method in ("linear", "ties") if options.mergekit else ():
        theirs = script("theirs.py", models.folder, options.mergekit, method)["seconds"]
        yield {
            f"mergekit {method}, seconds": theirs,
            f"mergekit {method}, times ours": theirs / seconds[method],
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--billion", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--mergekit", help="a Python that has mergekit")
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_models(folder, "1B" if options.billion else "100M")
        models = Models(folder)
        bound(models)
        one_read(models)
        rows: dict[str, float] = {}
        for part in parts(models, options):
            rows |= part
            for row, number in part.items():
                print(f"{row:42} {number:12.4g}", flush=True)
    if options.json:
        print(json.dumps({row: float(number) for row, number in rows.items()}))


if __name__ == "__main__":
    main()
