"""Scratch memory of a merge, watched from outside the process that merges."""

import json
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evomerge.merge.methods import METHODS

MIB = 1 << 20

# Merges three experts on disk into a live model; says when it begins and when it is done.
CHILD = """
import sys
from pathlib import Path
import torch
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

torch.set_num_threads(1)
folder, *methods = sys.argv[1:]
base = open_checkpoint(Path(folder) / "base")
experts = {name: open_checkpoint(Path(folder) / name) for name in ("a", "b", "c")}
live = {name: torch.ones(info.shape, dtype=info.dtype) for name, info in base.infos().items()}
groups = layer_groups(base.infos(), granularity=1, split_modules=False)
merge = PreparedMerge(base, experts)
print("begin", flush=True)
sys.stdin.readline()
for method in methods:
    values = {
        p.name: (0.3, 0.5, 0.7) if p.per_expert else 0.5 for p in METHODS[method].parameters
    }
    group = GroupRecipe(method, values)
    merge.materialise(Recipe(tuple(experts), dict.fromkeys(groups, group)), live)
print("done", flush=True)
"""


def save_models(folder: Path, shapes: list[tuple[int, ...]]) -> None:
    for seed, name in enumerate(("base", "a", "b", "c")):
        torch.manual_seed(seed)
        tensors = {}
        for i, shape in enumerate(shapes):
            bits = torch.empty(shape, dtype=torch.int16).random_(0x3000, 0x3F00)  # 5e-10 to 0.5
            tensors[f"model.layers.{i}.mlp.up_proj.weight"] = bits.view(torch.bfloat16)
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": "llama"}))
        save_file(tensors, folder / name / "model.safetensors")


def anonymous_bytes(pid: int) -> int:
    """The process's resident memory without the pages of mapped files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def scratch_bytes(folder: Path, methods: list[str]) -> int:
    """The peak of a merging process over what it held before, sampled every millisecond."""
    arguments = [sys.executable, "-c", CHILD, str(folder), *methods]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "begin\n"
        before = peak = anonymous_bytes(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        while not select.select([child.stdout], [], [], 0.001)[0]:
            peak = max(peak, anonymous_bytes(child.pid))
        assert child.stdout.readline() == "done\n"
    return peak - before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("shapes", "methods"),
    [
        ([(2048, 2048), *[(512, 512)] * 12, (512,)], ["ties", "dare_ties"]),
        pytest.param(
            [(4096, 2048), *[(512, 512)] * 12, (512,)],
            sorted(
                name
                for name, method in METHODS.items()
                if not method.n_experts and not method.statistics and not method.matrix
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [(8192, 8192), (128, 262_144), *[(1024, 1024)] * 50, (8192,)],  # 300 MB
            ["ties"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_merge_needs_64_mib_and_one_tensor(tmp_path, shapes, methods):
    save_models(tmp_path, shapes)
    largest = 2 * shapes[0][0] * shapes[0][1]
    scratch = scratch_bytes(tmp_path, methods)
    print(f"scratch {scratch / MIB:.0f} MiB, of which one tensor {largest / MIB:.0f} MiB")
    assert 0 < scratch < 64 * MIB + largest
