"""Seconds that mergekit takes to merge to disk, on the clock and of the processor.

`candidate.py` runs it, in a Python that has mergekit: models, a folder to write to, how many.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

EXPERTS = ("math", "german", "lists")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def configuration(models: Path, weight: float) -> MergeConfiguration:
    """TIES of the three experts."""
    parameters = {"weight": weight, "density": 0.5}
    return MergeConfiguration.model_validate(
        {
            "merge_method": "ties",
            "base_model": str(models / "base"),
            "models": [{"model": str(models / e), "parameters": parameters} for e in EXPERTS],
            "dtype": "bfloat16",
        }
    )


def main() -> None:
    """Merge, and print the seconds of each merge."""
    torch.set_num_threads(1)
    models, out, n_merges = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), int(sys.argv[3])
    options = MergeOptions(copy_tokenizer=False, write_model_card=False)
    seconds = []
    for i in range(n_merges):
        start, processor = time.perf_counter(), time.process_time()
        run_merge(configuration(models, 0.3 + 0.1 * i), str(out / str(i)), options=options)
        seconds.append((time.perf_counter() - start, time.process_time() - processor))
        for name in TOKENIZER:
            shutil.copy(models / "base" / name, out / str(i) / name)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
