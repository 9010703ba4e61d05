"""Memory of writing a merge, watched from outside the process that writes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

MIB = 1 << 20

# Writes a merge of two models on disk; says how much private memory that took at most.
CHILD = """
import sys
import threading
import time
from pathlib import Path
import torch
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint

torch.set_num_threads(1)
folder = Path(sys.argv[1])

def private_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])

def merged(base, expert):
    for name in base.infos():
        yield name, base.read(name).float().add_(expert.read(name)).div_(2).bfloat16()

base, expert = (open_checkpoint(folder / name) for name in ("base", "expert"))
before = peak = private_bytes()
done = threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, private_bytes())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
write_checkpoint(merged(base, expert), folder / "merged", like=base)
done.set()
watcher.join()
print(peak - before)
"""


def save_model(folder: Path, n_layers: int, side: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": torch.empty(side, side, dtype=torch.int16)
        .random_(0x3000, 0x3F00, generator=generator)
        .view(torch.bfloat16)
        for i in range(n_layers)
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("n_layers", "side"),
    [(48, 1024), pytest.param(96, 2048, marks=pytest.mark.slow)],  # 96 MiB and 768 MiB
)
def test_writing_a_merge_needs_a_few_tensors_whatever_the_size_of_the_model(
    tmp_path: Path, n_layers: int, side: int
) -> None:
    for seed, name in enumerate(("base", "expert")):
        save_model(tmp_path / name, n_layers, side, seed)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True
    )
    tensor = 2 * side * side
    peak = int(re.fullmatch(r"(\d+)\n", child.stdout)[1])
    print(f"peak {peak / MIB:.0f} MiB, {peak / tensor:.1f} tensors of {n_layers}")
    # Three are written or wait for it, one is merged in float32; the rest is what malloc keeps.
    assert peak < 16 * tensor + 8 * MIB
    assert (tmp_path / "merged/model.safetensors").stat().st_size > n_layers * tensor
