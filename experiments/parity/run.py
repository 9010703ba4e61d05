"""Merge tiny models with mergekit, and print how far evomerge's merges are from its.

    python3 -m venv mergekit-env
    mergekit-env/bin/pip install torch==2.13.0
    mergekit-env/bin/pip install mergekit==0.1.4 transformers==5.0.0 ruamel.yaml
    mergekit-env/bin/python experiments/parity/run.py

mergekit pins versions that evomerge does not take, hence an environment of its own, in which
evomerge's merge room works too. What mergekit gives is written into `tests/merge/mergekit/`, where
the ordinary suite compares evomerge with it. Of methods that the installed mergekit does not have,
what is stored there stays: `ram` and `ramplus_tl` are those of a commit after 0.1.4.

Where mergekit draws random masks, it is given evomerge's random bits, so that its merge can be
compared entry by entry; what its own draws are like is counted apart.
"""

import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.merge_methods import REGISTERED_MERGE_METHODS
from mergekit.merge_methods.generalized_task_arithmetic import GTATask
from mergekit.options import MergeOptions
from mergekit.sparsify import RescaleNorm, SparsificationMethod, sparsify
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from evomerge.export.phrases import PHRASES  # noqa: E402
from evomerge.merge.random_bits import N_VALUES, random_bits, stream_key  # noqa: E402
from tests.merge.mergekit.cases import CASES  # noqa: E402
from tests.merge.mergekit.draws import DRAWN, N_DRAWS, vector, what_is_drawn  # noqa: E402
from tests.merge.mergekit.exports import EXPORTS  # noqa: E402
from tests.merge.mergekit.exports import FAMILY as EXPORTED_FAMILY  # noqa: E402
from tests.merge.mergekit.families import FAMILIES, Family  # noqa: E402
from tests.merge.mergekit.merging import (  # noqa: E402
    FIXTURES,
    Gap,
    gaps,
    merge,
    merge_recipe,
    stored_as,
)
from tests.merge.mergekit.traps import is_caught  # noqa: E402

SEED = 0
"""The seed of the recipes, whose random bits mergekit is given."""


def main() -> None:
    """Merge every case on each of its families, store what comes out, print the table."""
    torch.set_num_threads(1)
    outputs: dict[str, Mapping[str, Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES.values():
            models = write_models(family, Path(folder) / family.name)
            for name, config in configurations(family):
                is_known = config["merge_method"] in REGISTERED_MERGE_METHODS
                outputs[name] = (
                    merged_by_mergekit(config, models) if is_known else stored_as(name, family)
                )
    write_fixtures(outputs)
    print_table(outputs)


def configurations(family: Family) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What mergekit merges of a family, by name: the cases, and what evomerge exports."""
    for case in CASES.values():
        if family.name in case.families:
            yield f"{case.name}/{family.name}", case.config()
    if family == EXPORTED_FAMILY:
        for export in EXPORTS.values():
            yield f"export/{export.method}", yaml.safe_load(export.text())


def write_models(family: Family, folder: Path) -> Path:
    """Write the family's models as folders that mergekit opens."""
    for name, tensors in family.models().items():
        (folder / name).mkdir(parents=True)
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(family.config()))
    return folder


def merged_by_mergekit(config: Mapping[str, Any], models: Path) -> dict[str, Tensor]:
    """The tensors that mergekit writes."""
    config = _with_folders(config, models)
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    with tempfile.TemporaryDirectory() as out, evomerge_bits():
        run_merge(MergeConfiguration.model_validate(config), out, options)
        return load_file(Path(out) / "model.safetensors")


def _with_folders(value: object, models: Path) -> object:
    """A configuration with the folder of each model that it names."""
    if isinstance(value, Mapping):
        named = {"model", "base_model"}
        return {
            key: str(models / str(inner)) if key in named else _with_folders(inner, models)
            for key, inner in value.items()
        }
    return [_with_folders(inner, models) for inner in value] if isinstance(value, list) else value


@contextmanager
def evomerge_bits() -> Iterator[None]:
    """Let `torch.bernoulli` draw evomerge's random bits of the tensor and expert at hand."""
    draws: list[tuple[int, int]] = []  # the streams of the experts still to be drawn for
    execute, bernoulli = GTATask.execute, torch.bernoulli

    def executed(task: GTATask, tensors: dict, **rest: object) -> Tensor:
        models = [Path(model.model.path).name for model in tensors if model != task.base_model]
        draws[:] = [stream_key(SEED, model, task.weight_info.name) for model in models]
        return execute(task, tensors, **rest)

    def drawn(probability: Tensor) -> Tensor:
        bits = random_bits(draws.pop(0), 0, probability.numel()).view(probability.shape)
        return (bits < (probability.double() * N_VALUES).round()).to(probability.dtype)

    GTATask.execute, torch.bernoulli = executed, drawn
    try:
        yield
    finally:
        GTATask.execute, torch.bernoulli = execute, bernoulli


def write_fixtures(outputs: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Store the outputs, and what was run."""
    flat = {f"{case}/{name}": x for case, merged in outputs.items() for name, x in merged.items()}
    save_file(flat, FIXTURES / "outputs.safetensors")
    libraries = ("mergekit", "torch", "transformers", "numpy", "safetensors")
    manifest = {
        "command": "python experiments/parity/run.py",
        "python": platform.python_version(),
        "versions": {library: version(library) for library in libraries},
        "seed": SEED,
        "merges": {
            name: {"mergekit": case.version, "config": case.config()}
            for case in CASES.values()
            for name in (f"{case.name}/{family}" for family in case.families)
        },
        "exports": {name: export.text() for name, export in EXPORTS.items()},
        "draws": {name: drawn_by_mergekit(name) for name in DRAWN},
    }
    (FIXTURES / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def drawn_by_mergekit(name: str) -> dict[str, object]:
    """What mergekit's own random masks keep of a vector, see `what_is_drawn`."""
    torch.manual_seed(SEED)
    settings = dict(DRAWN[name])
    method = SparsificationMethod(settings.pop("sparsification"))
    return what_is_drawn(
        sparsify(vector(), method=method, rescale_norm=RescaleNorm.l1, **settings)
        for _ in range(N_DRAWS)
    )


def print_table(outputs: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Print how far apart the merges are, as Markdown; tensors caught in traps are only counted."""
    print("| Merge | mergekit | evomerge | largest difference | in ulp | of the change ", end="")
    print("| entries beyond 4 ulp | in traps |\n|---|---|---|---|---|---|---|---|")
    for case in CASES.values():
        for family in map(FAMILIES.__getitem__, case.families):
            name = f"{case.name}/{family.name}"
            found = gaps(case.experts, family, merge(case, family), outputs[name])
            caught = {tensor for tensor in found if is_caught(case, family, tensor)}
            print_row(f"{name} | {case.theirs} | {case.ours}", found, outputs[name], caught)
    for export in EXPORTS.values():
        name = f"export/{export.method}"
        ours = merge_recipe(export.recipe(), EXPORTED_FAMILY)
        found = gaps(export.experts, EXPORTED_FAMILY, ours, outputs[name])
        is_trapped = export.method.startswith("model_stock")
        caught = {
            tensor
            for tensor in found
            if is_trapped and is_caught(CASES[export.method], EXPORTED_FAMILY, tensor)
        }
        method = PHRASES[export.method].method
        print_row(f"{name} | {method} | {export.method}", found, outputs[name], caught)


def print_row(
    start: str, found: Mapping[str, Gap], theirs: Mapping[str, Tensor], caught: set[str]
) -> None:
    """Print one row of the table."""
    free = [gap for tensor, gap in found.items() if tensor not in caught]
    print(
        f"| {start} "
        f"| {max((gap.difference for gap in free), default=0.0):.1e} "
        f"| {max((gap.in_ulps for gap in free), default=0.0):.1f} "
        f"| {max((gap.of_change for gap in free), default=0.0):.1e} "
        f"| {sum(gap.n_beyond for gap in free)} of {_count(theirs, set(found) - caught)} "
        f"| {sum(found[tensor].n_beyond for tensor in caught)} of {_count(theirs, caught)} |"
    )


def _count(tensors: Mapping[str, Tensor], names: set[str]) -> int:
    return sum(tensors[name].numel() for name in names)


if __name__ == "__main__":
    main()
