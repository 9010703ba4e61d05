"""Example files that `evomerge merge` and mergekit turn into the same weights.

mergekit's are stored under `mergekit/`, written by `experiments/parity/run.py`.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.run.merging import merge_configuration
from tests.merge.mergekit.examples import EXAMPLES
from tests.merge.mergekit.families import FAMILIES
from tests.merge.mergekit.merging import FIXTURES, WITHIN


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the models that the examples name."""
    folder, family = tmp_path_factory.mktemp("models"), FAMILIES["examples"]
    for name, tensors in family.models().items():
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps(family.config()))
    return folder


def merged_by_mergekit(name):
    with safe_open(Path(FIXTURES) / "outputs.safetensors", framework="pt") as file:
        start = f"example/{name}/"
        keys = [key for key in file.keys() if key.startswith(start)]  # noqa: SIM118
        return {key.removeprefix(start): file.get_tensor(key) for key in keys}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_merges_to_mergekit_s_weights(models, tmp_path, name):
    shutil.copy(EXAMPLES[name], models)
    merge_configuration(models / EXAMPLES[name].name, tmp_path / "out")
    ours, theirs = open_checkpoint(tmp_path / "out"), merged_by_mergekit(name)
    assert set(ours.infos()) == set(theirs)
    for tensor, expected in theirs.items():
        merged = ours.read(tensor)
        assert merged.dtype == expected.dtype
        unit = torch.finfo(merged.dtype).eps * float(expected.abs().max())
        gap = (merged.double() - expected.double()).abs().max()
        assert float(gap) <= WITHIN * unit, tensor
