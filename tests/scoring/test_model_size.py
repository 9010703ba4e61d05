"""The size of a model, as the model counts it itself."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evomerge.scoring.model_size import ModelBenchmark
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorers import Scorers
from tests.tiny import write_model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
def test_every_entry_counts_once(tmp_path: Path, architecture: str, tied: bool) -> None:
    model = write_model(tmp_path, seed=0, architecture=architecture, tied=tied, layers=3)
    resident = ResidentModel.from_folder(model, dtype=torch.float32)
    scorers = Scorers(resident, {"model": ModelBenchmark(("parameters", "layers"))})
    scores = scorers.score({"model": (0,)})
    stored = load_file(model / "model.safetensors")
    assert ("lm_head.weight" in stored) == (not tied and architecture != "gpt_neox")
    assert scores["model:parameters"].values == (sum(t.numel() for t in stored.values()),)
    assert scores["model:layers"].values == (3.0,)
