"""Rebuild the zoo: tokenizer, base, experts, multi-task bound and the evaluation tasks.

python experiments/zoo/build.py [--seed N] [--out DIR]

Everything is generated from the seed; nothing is downloaded. Two processes of one thread each
train the experts and the bound after the base.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.zoo.mixtures import EXPERTS, MULTITASK, NOISY_PRETRAINING, PRETRAINING
from experiments.zoo.tasks import write_tasks
from experiments.zoo.tokenizer import save_tokenizer, train_tokenizer
from experiments.zoo.train import Phase, new_model, train

HERE = Path(__file__).resolve().parent
ABILITIES = Phase(PRETRAINING, 1400, 3e-3, n_warmup=100, weight_decay=0.01, prompt_weight=0.1)
FAULTS = Phase(NOISY_PRETRAINING, 400, 1e-3, batch_size=64)
FINE_TUNES = {
    name: Phase(mixture, 150, 3e-4, batch_size=64)
    for name, mixture in (EXPERTS | {"multitask": MULTITASK}).items()
}


def build(seed: int, out: Path, *, n_processes: int = 2, reuse_abilities: bool = False) -> None:
    """Write `out/models` and `out/tasks`, replacing what is there."""
    torch.set_num_threads(1)
    write_tasks(out / "tasks", seed=seed)
    tokenizer = train_tokenizer(seed=seed)
    if not reuse_abilities:
        pretrain(tokenizer, out / "abilities", seed=seed)
    add_faults(tokenizer, out / "abilities", out / "models" / "base", seed=seed)
    # Spawned, not forked: torch's thread pool does not survive a fork.
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(fine_tune, name, out / "models", seed) for name in FINE_TUNES]
        for job in jobs:
            job.result()


def pretrain(tokenizer: PreTrainedTokenizerFast, folder: Path, *, seed: int) -> None:
    """Train a model that has every ability and makes no systematic error; keep it in float32."""
    model = new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, seed=seed)
    rng = np.random.default_rng([seed, 2, 0])
    train(model, tokenizer.backend_tokenizer, ABILITIES, rng=rng, report=_reporter("abilities"))
    model.save_pretrained(folder)


def add_faults(
    tokenizer: PreTrainedTokenizerFast, abilities: Path, folder: Path, *, seed: int
) -> None:
    """Train the base: the same abilities, behind systematic errors."""
    model = LlamaForCausalLM.from_pretrained(abilities, dtype=torch.float32)
    rng = np.random.default_rng([seed, 2, 1])
    train(model, tokenizer.backend_tokenizer, FAULTS, rng=rng, report=_reporter("base"))
    save(model, tokenizer, folder)


def fine_tune(name: str, models: Path, seed: int) -> None:
    """Train one expert or the bound from the base as saved, bfloat16 rounding included."""
    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(models / "base")
    model = LlamaForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    rng = np.random.default_rng([seed, 3, sorted(FINE_TUNES).index(name)])
    train(model, tokenizer.backend_tokenizer, FINE_TUNES[name], rng=rng, report=_reporter(name))
    save(model, tokenizer, models / name)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a checkpoint in Hugging Face format, weights rounded to bfloat16."""
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.bfloat16().save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    (folder / "model.safetensors").chmod(0o644)


def _reporter(name: str) -> Callable[[str], None]:
    start = time.monotonic()
    return lambda line: print(f"{name:10s} {time.monotonic() - start:6.0f} s  {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--reuse-abilities", action="store_true", help="skip the first phase if it was run before"
    )
    arguments = parser.parse_args()
    start = time.monotonic()
    build(
        arguments.seed,
        arguments.out,
        n_processes=arguments.processes,
        reuse_abilities=arguments.reuse_abilities,
    )
    print(f"built in {time.monotonic() - start:.0f} s: {arguments.out}")


if __name__ == "__main__":
    main()
