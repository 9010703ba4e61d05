"""Time to merge a candidate into a live model, beside the plain loop over whole tensors.

python experiments/benchmarks/merge/run.py [--models zoo small] [--candidates 7] [--json]

Processor time of one thread, the median over candidates with random values; the first candidate,
which fills the caches, apart. The plain loop does what a merge written in ten lines does: whole
tensors in float32, a `kthvalue` for the density of TIES, a new random mask for DARE, nothing kept.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe, TensorInfo

# name → (vocabulary, hidden, MLP, layers)
MODELS = {"zoo": (330, 128, 320, 4), "small": (8192, 512, 1536, 8)}
EXPERTS = ("a", "b", "c")
TIMED = ("linear", "task_arithmetic", "ties", "dare_ties")
"""The methods that `plain_merge` knows."""


@dataclass(frozen=True)
class Row:
    """One method on one model, in milliseconds of processor time."""

    model: str
    n_parameters: int
    method: str
    first_ms: float
    ms: float
    plain_ms: float


@dataclass(frozen=True)
class MemorySource:
    """A model held in memory."""

    tensors: Mapping[str, Tensor]

    def infos(self) -> dict[str, TensorInfo]:
        return {k: TensorInfo(k, tuple(x.shape), x.dtype) for k, x in self.tensors.items()}

    def read(self, name: str) -> Tensor:
        return self.tensors[name]


def llama(sizes: tuple[int, int, int, int], seed: int) -> MemorySource:
    """Random weights in bfloat16 of the shapes of a Llama with tied embeddings."""
    vocabulary, hidden, mlp, n_layers = sizes
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}"
        for module in "qkvo":
            shapes[f"{prefix}.self_attn.{module}_proj.weight"] = (hidden, hidden)
        shapes[f"{prefix}.mlp.gate_proj.weight"] = shapes[f"{prefix}.mlp.up_proj.weight"] = (
            mlp,
            hidden,
        )
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, mlp)
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
    generator = torch.Generator().manual_seed(seed)
    return MemorySource(
        {k: torch.randn(s, generator=generator).mul_(0.02).bfloat16() for k, s in shapes.items()}
    )


def random_recipe(method: str, groups: tuple[str, ...], seed: int) -> Recipe:
    """Values drawn between the bounds of the method's parameters."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> GroupRecipe:
        values = {}
        for p in METHODS[method].parameters:
            places = torch.rand(len(EXPERTS), generator=generator).tolist()
            values[p.name] = tuple(p.low + (p.high - p.low) * place for place in places)
        return GroupRecipe(method, values)

    return Recipe(EXPERTS, {group: draw() for group in groups})


def plain_merge(
    method: str, base: Tensor, experts: list[Tensor], values: Mapping[str, tuple[float, ...]]
) -> Tensor:
    """The merge of one tensor, the short way."""
    coefficients = torch.tensor(values["coefficient"]).view(-1, *[1] * base.dim())
    if method == "linear":
        stack = torch.stack([expert.float() for expert in experts])
        return ((coefficients / coefficients.sum()) * stack).sum(0).to(base.dtype)
    vectors = torch.stack([expert.float() - base.float() for expert in experts])
    for vector, density in zip(vectors, values.get("density", ()), strict=False):
        if method == "ties":
            n_dropped = vector.numel() - int(density * vector.numel() + 0.5)
            threshold = vector.abs().flatten().kthvalue(max(n_dropped, 1)).values
            vector[vector.abs() <= threshold] = 0
        else:
            vector *= (torch.rand(vector.shape) < density) / density
    moves = coefficients * vectors
    if method == "task_arithmetic":
        return (base.float() + moves.sum(0)).to(base.dtype)
    agreeing = moves * moves.sum(0).sign() > 0
    mean = (moves * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)
    return (base.float() + mean).to(base.dtype)


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of this thread's process for one call."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def measure(model: str, method: str, n_candidates: int) -> Row:
    """One row of the table."""
    base = llama(MODELS[model], seed=0)
    experts = {name: llama(MODELS[model], seed) for seed, name in enumerate(EXPERTS, start=1)}
    live = {name: tensor.float() for name, tensor in base.tensors.items()}
    groups = layer_groups(base.tensors, granularity=1, split_modules=False)
    merge = PreparedMerge(base, experts)
    recipes = [random_recipe(method, groups, seed) for seed in range(n_candidates + 1)]

    def plain(recipe: Recipe) -> None:
        values = next(iter(recipe.groups.values())).values
        for name, tensor in base.tensors.items():
            stack = [expert.tensors[name] for expert in experts.values()]
            live[name].copy_(plain_merge(method, tensor, stack, values))

    ours = [milliseconds(lambda r=r: merge.materialise(r, live)) for r in recipes]
    theirs = [milliseconds(lambda r=r: plain(r)) for r in recipes]
    n_parameters = sum(tensor.numel() for tensor in base.tensors.values())
    first, *later = ours
    return Row(
        model, n_parameters, method, first, statistics.median(later), statistics.median(theirs[1:])
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(m, method, options.candidates) for m in options.models for method in TIMED]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print(f"{'model':6} {'params':>8} {'method':16} {'first':>8} {'then':>8} {'plain':>8}  ratio")
    for row in rows:
        print(
            f"{row.model:6} {row.n_parameters / 1e6:7.1f}M {row.method:16} {row.first_ms:7.1f}ms "
            f"{row.ms:6.1f}ms {row.plain_ms:6.1f}ms {row.plain_ms / row.ms:6.1f}"
        )


if __name__ == "__main__":
    main()
