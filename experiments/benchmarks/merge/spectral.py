"""Time of the first candidate of each spectral method, and of those after it.

python experiments/benchmarks/merge/spectral.py [--repeats 5] [--json]

A Llama-shaped base of 8 million parameters and three experts in bfloat16, one thread, processor
time. Task arithmetic, which prepares nothing, is measured beside them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from models import EXPERTS, save_models

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

METHODS = (
    *("task_arithmetic", "tsv", "iso_c", "iso_cts", "star", "cart", "wudi", "optmerge", "opcm"),
    *("knots(ties)", "core(ties)"),
)


def recipe(name: str, groups: tuple[str, ...], rng: np.random.Generator) -> Recipe:
    """Values drawn between the bounds of the method's parameters."""
    parameters = find_method(name).parameters
    drawn = {
        group: GroupRecipe(
            name,
            {
                p.name: tuple(float(rng.uniform(p.low, p.high)) for _ in EXPERTS)
                if p.per_expert
                else float(rng.uniform(p.low, p.high))
                for p in parameters
            },
        )
        for group in groups
    }
    return Recipe(EXPERTS, drawn)


def seconds(folder: Path, name: str, n_repeats: int) -> tuple[float, float]:
    """Processor time of the first candidate, and of the fastest after it."""
    base = open_checkpoint(folder / "base")
    merge = PreparedMerge(base, {expert: open_checkpoint(folder / expert) for expert in EXPERTS})
    live = {key: torch.zeros(x.shape, dtype=x.dtype) for key, x in base.infos().items()}
    groups = layer_groups(base.infos(), granularity=1, split_modules=False)
    rng = np.random.default_rng(0)
    times = []
    for _ in range(1 + n_repeats):
        candidate = recipe(name, groups, rng)
        start = time.process_time()
        merge.materialise(candidate, live)
        times.append(time.process_time() - start)
    return times[0], min(times[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_models(folder, "7M")
        for method in METHODS:
            first, after = seconds(folder, method, options.repeats)
            rows[f"{method}, first to next"] = first / after
            rows[f"{method}, next, seconds"] = after
            print(f"{method:16} first {first:8.2f} s   next {after:8.3f} s", flush=True)
    for method in METHODS:
        rows[f"{method}, next to task_arithmetic"] = (
            rows[f"{method}, next, seconds"] / rows["task_arithmetic, next, seconds"]
        )
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
