"""Seconds that mergekit takes for a merge to disk and the loading of it. `run.py` runs it.

Needs a Python that has mergekit; every path is absolute and nothing is downloaded.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM


def configuration(folder: Path, method: str) -> MergeConfiguration:
    """The recipe: coefficients 0.3, and a density of 0.5 where there is one."""
    parameters = {"weight": 0.3} | ({"density": 0.5} if method == "ties" else {})
    models = [{"model": str(folder / name), "parameters": parameters} for name in "abc"]
    config = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method == "ties":
        config["base_model"] = str(folder / "base")
    return MergeConfiguration.model_validate(config)


def main() -> None:
    """Print the fastest of three."""
    torch.set_num_threads(2)
    folder, method = Path(sys.argv[1]).resolve(), sys.argv[2]
    seconds = []
    for _ in range(3 if method == "linear" else 1):
        with tempfile.TemporaryDirectory() as out:
            options = MergeOptions(copy_tokenizer=False, write_model_card=False)
            start = time.perf_counter()
            run_merge(configuration(folder, method), out, options=options)
            AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds)}))


if __name__ == "__main__":
    main()
