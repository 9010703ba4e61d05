"""Measure the zoo: every model and the merges found, on every test task, by lm-eval itself.

python experiments/zoo/study.py [--zoo DIR] [--seed N] [--evaluations N] [--out FILE]
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from experiments.zoo.harness import evaluate
from experiments.zoo.merging import GROUPS, MergeSpace, load_model, load_space, write_weights
from experiments.zoo.search import MeanOfSkills, choose, search_cma, search_global

HERE = Path(__file__).resolve().parent
EXPERTS = ("math", "german", "lists")
N_SEARCH_ITEMS = 120


def study(zoo: Path, *, seed: int, n_evaluations: int) -> dict[str, object]:
    """Return coefficients of the merges found and the item results of all models."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(zoo / "models" / "base")
    space = load_space(zoo / "models", EXPERTS)
    merges = {"uniform average": np.full((len(EXPERTS), len(GROUPS)), 1 / len(EXPERTS))}
    merges |= find_merges(zoo, tokenizer, space, seed=seed, n_evaluations=n_evaluations)
    weights = {name: _flat(zoo, name, space) for name in ("base", *EXPERTS, "multitask")}
    weights |= {name: space.merge(coefficients) for name, coefficients in merges.items()}
    model = load_model(zoo / "models" / "base")
    results = {}
    for name, flat in weights.items():
        write_weights(model, flat, space.names)
        results[name] = evaluate(model, tokenizer, zoo / "tasks", split="test")
        print(name, {task: round(float(np.mean(r)), 3) for task, r in results[name].items()})
    return {
        "seed": seed,
        "n_evaluations": n_evaluations,
        "n_search_items": N_SEARCH_ITEMS,
        "geometry": _geometry(space),
        "coefficients": {name: value.round(4).tolist() for name, value in merges.items()},
        "results": results,
    }


def find_merges(
    zoo: Path,
    tokenizer: PreTrainedTokenizerFast,
    space: MergeSpace,
    *,
    seed: int,
    n_evaluations: int,
) -> dict[str, np.ndarray]:
    """Return the merge found at each granularity, all at the same number of evaluations."""
    objective = MeanOfSkills(zoo, tokenizer, space, split="search", n_items=N_SEARCH_ITEMS)
    selection = MeanOfSkills(zoo, tokenizer, space, split="select")
    n_experts, n_genes = len(EXPERTS), len(EXPERTS) * len(GROUPS)
    finalists = {
        "best global scalar": search_global(objective, n_evaluations, n_experts),
        "per-expert scalars": search_cma(objective, n_experts, n_evaluations, n_experts, seed=seed),
        "layer-wise": search_cma(objective, n_genes, n_evaluations, n_experts, seed=seed),
    }
    return {name: choose(genes, selection, n_experts) for name, genes in finalists.items()}


def _flat(zoo: Path, name: str, space: MergeSpace) -> Tensor:
    parameters = dict(load_model(zoo / "models" / name).named_parameters())
    return torch.cat([parameters[tensor].detach().flatten() for tensor in space.names])


def _geometry(space: MergeSpace) -> dict[str, object]:
    """Return the relative norms of the task vectors and their cosines."""
    norms = space.task_vectors.norm(dim=1)
    unit = space.task_vectors / norms[:, None]
    return {
        "relative_norms": (norms / space.base.norm()).tolist(),
        "cosines": (unit @ unit.T).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--zoo", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=192)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "seed-0.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    found = study(arguments.zoo, seed=arguments.seed, n_evaluations=arguments.evaluations)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found))
    print(f"studied in {time.monotonic() - start:.0f} s: {arguments.out}")


if __name__ == "__main__":
    main()
