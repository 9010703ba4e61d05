"""What a result depends on, as plain values: what makes it worth keeping for other runs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import evomerge
from evomerge.merge.methods import LINEAR, TASK_ARITHMETIC
from evomerge.records import Recipe, measure_key
from evomerge.run.plan import Plan
from evomerge.run.texts import references

Parts = dict[str, Any]

_PLAIN = {LINEAR.name, TASK_ARITHMETIC.name}
"""Methods that draw nothing, need no statistics, and leave out an expert of coefficient zero."""


def digest_of(parts: Mapping[str, Any]) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the parts' canonical JSON."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def merge_parts(plan: Plan, recipe: Recipe) -> Parts:
    """What the weights of a merge depend on, whatever its models are called.

    Experts that have no part in a plain average or sum are left out, so that the base and each
    expert by itself are known again beside other experts and under another seed.
    """
    plain = all(group.method in _PLAIN for group in recipe.groups.values())
    used = [
        i for i in range(len(recipe.experts)) if not plain or any(_coefficients(recipe, expert=i))
    ]
    fingerprints = plan.fingerprints
    parts: Parts = {
        "base": fingerprints["model:base"],
        "experts": [fingerprints[f"model:{recipe.experts[i]}"] for i in used],
        "groups": {name: _group(recipe, name, used) for name in recipe.groups},
        "tokenizer": plan.experiment.merge.tokenizer,
    }
    if not plain:
        parts["seed"] = recipe.seed
        parts["statistics"] = sorted(
            digest for name, digest in fingerprints.items() if name.startswith("statistics:")
        )
    return parts


def keys_of(plan: Plan, benchmark: str) -> list[str]:
    """The keys of everything that is measured on a benchmark."""
    objectives = plan.experiment.objectives
    users = [
        objective
        for objective in objectives
        if benchmark in (objective.benchmark("search"), objective.benchmark("test"))
    ]
    return sorted({measure_key(benchmark, objective.metric) for objective in users})


def benchmark_parts(plan: Plan, name: str) -> Parts:
    """What the items of a benchmark and their results depend on beside the model."""
    parts: Parts = {"content": plan.fingerprints[f"task:{name}"]}
    if reference := references(plan.experiment).get(name):
        parts["reference"] = merge_parts(plan, plan.baselines[reference])
    return parts


def asking_parts(plan: Plan, name: str) -> Parts:
    """What the items depend on that a baseline is asked after those of its job."""
    return {
        "bank": plan.fingerprints.get(f"bank:{name}"),
        "order": list(plan.order(name, 0)),
        "n_common": plan.n_common,
        "n": plan.experiment.scoring.items,
    }


def scoring_parts(plan: Plan) -> Parts:
    """What the last bit of a score depends on: how passes are computed, and by which code."""
    scoring = plan.experiment.scoring
    code = ("evomerge", "torch", "transformers", "lm_eval")
    return {
        "dtype": plan.dtype,
        "mode": scoring.mode,
        "batch_size": scoring.batch_size,
        "threads": scoring.threads,
        "versions": {name: known for name, known in versions().items() if name in code},
        "code": code_digest(),
    }


@cache
def code_digest() -> str:
    """A digest of our own code that a score depends on, which a version alone does not tell."""
    package = Path(evomerge.__file__).parent
    digest = hashlib.sha256()
    for room in ("checkpoint", "merge", "scoring", "workers"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def reference_digest(plan: Plan, benchmark: str) -> str:
    """What the logits of a benchmark's reference depend on."""
    return digest_of({"of": benchmark_parts(plan, benchmark), "by": scoring_parts(plan)})


def versions() -> dict[str, str]:
    """The versions of the packages that a score depends on."""
    names = ("torch", "transformers", "lm_eval", "numpy", "pymoo", "safetensors")
    return {"evomerge": evomerge.__version__, **{name: version(name) for name in names}}


def _coefficients(recipe: Recipe, *, expert: int) -> Iterator[float]:
    for group in recipe.groups.values():
        value = group.values["coefficient"]
        yield value[expert] if isinstance(value, tuple) else value


def _group(recipe: Recipe, name: str, used: list[int]) -> Parts:
    group = recipe.groups[name]
    values = {
        key: [value[i] for i in used] if isinstance(value, tuple) else value
        for key, value in group.values.items()
    }
    return {"method": group.method, "values": values}
