"""Train the zoo's experts again as LoRA adapters of its base, as most fine-tunes are made today.

python experiments/zoo/adapters.py [--seed N] [--out DIR]

The mixtures, the number of steps and the batches' size are those of `build.py`; low-rank factors
start at zero and learn faster. Every linear map of the layers has an adapter of rank 8.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.zoo.mixtures import EXPERTS
from experiments.zoo.train import Phase, train

HERE = Path(__file__).resolve().parent
PHASES = {name: Phase(mixture, 200, 3e-3, batch_size=64) for name, mixture in EXPERTS.items()}


def train_adapter(name: str, base: Path, out: Path, *, seed: int) -> None:
    """Write the adapter of one expert, in bfloat16."""
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    rng = np.random.default_rng([seed, 3, sorted(PHASES).index(name)])
    train(adapted, tokenizer.backend_tokenizer, PHASES[name], rng=rng, report=print)
    adapted.peft_config["default"].base_model_name_or_path = "../models/base"
    adapted.bfloat16().save_pretrained(out)
    (out / "README.md").unlink()  # a card with nothing in it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "adapters")
    parser.add_argument("--base", type=Path, default=HERE / "models" / "base")
    arguments = parser.parse_args()
    for name in PHASES:
        print(name)
        train_adapter(name, arguments.base, arguments.out / name, seed=arguments.seed)


if __name__ == "__main__":
    main()
