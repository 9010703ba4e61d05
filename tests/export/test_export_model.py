"""The exported folder: loadable, complete, all or nothing."""

from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import ModelError, UsageError
from evomerge.export.folder import export_model
from evomerge.merge.prepared import PreparedMerge
from tests.export.recipes import card_for, recipe_for
from tests.tiny import TinyZoo


def export(zoo: TinyZoo, out_dir: Path) -> dict[str, torch.Tensor]:
    """Export a tiny merge; returns its tensors."""
    base = open_checkpoint(zoo.base)
    experts = {name: open_checkpoint(path) for name, path in zoo.experts.items()}
    recipe = recipe_for(list(base.infos()))
    tensors = dict(PreparedMerge(base, experts).merged(recipe))
    export_model(tensors, base, out_dir, card_for(recipe, zoo))
    return tensors


def test_hugging_face_loads_the_folder_bit_for_bit(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    tensors = export(tiny_zoo, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) > 0


def test_the_folder_explains_itself(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    export(tiny_zoo, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text().startswith("---\n")
    assert '"format": 1' in (tmp_path / "out" / "evomerge.json").read_text()
    config = YAML(typ="safe").load((tmp_path / "out" / "mergekit_config.yml").read_text())
    assert config["out_dtype"] == "bfloat16"


def test_an_export_that_fails_leaves_nothing(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    base = open_checkpoint(tiny_zoo.base)
    card = card_for(recipe_for(list(base.infos())), tiny_zoo)
    with pytest.raises(ModelError):
        export_model({}, base, tmp_path / "out", card)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(UsageError, match="exists and is not an empty folder; expected a new one"):
        export(tiny_zoo, tmp_path / "out")


def test_an_empty_folder_is_filled(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tiny_zoo, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
