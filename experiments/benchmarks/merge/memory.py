"""Private memory that merging adds to a process with a live model. `run.py` runs it.

The resident model's bytes are subtracted from nothing: 1 is the live model alone, and what the
process held after its imports, compiled loops among them, does not count.
"""

import json
import sys
from pathlib import Path

import numpy as np
import psutil
import torch
from models import EXPERTS
from run import Models

from evomerge.merge.prepared import PreparedMerge

MIB = 1 << 20


def main() -> None:
    """Print the largest growth after any of a few candidates of each of three methods."""
    torch.set_num_threads(2)
    from evomerge.merge.fused import sketches  # noqa: F401

    process = psutil.Process()
    before = process.memory_full_info().uss
    models = Models(Path(sys.argv[1]))
    for tensor in models.live.values():
        tensor.fill_(1.0)
    resident = sum(tensor.nbytes for tensor in models.live.values())
    merge = PreparedMerge(models.base, models.experts)
    grown = []
    for method in ("linear", "ties", "dare_ties", "breadcrumbs", "ties"):
        merge.materialise(models.recipe(method), models.live)
        grown.append(process.memory_full_info().uss - before)
    allowed = 1.3 * resident + 64 * MIB
    print(
        json.dumps(
            {
                "private memory to resident model": float(np.max(grown)) / resident,
                "private memory to 1.3 models + 64 MiB": float(np.max(grown)) / allowed,
                "experts": len(EXPERTS),
            }
        )
    )


if __name__ == "__main__":
    main()
