"""Statistics on disk: whole or absent, and refused when damaged."""

import pytest
import torch

from evomerge.checkpoint.statistics import open_statistics, write_statistics
from evomerge.errors import InfrastructureError, ModelError, NonFiniteError

GRAMS = {"layers.0.w": torch.eye(3), "layers.1.w:rows": torch.ones(2, 2)}


def test_statistics_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "grams.safetensors"
    write_statistics(GRAMS, path)
    source = open_statistics(path, "grams of math")
    assert source.infos().keys() == GRAMS.keys()
    assert all(torch.equal(source.read(name), values) for name, values in GRAMS.items())
    assert [file.name for file in path.parent.iterdir()] == ["grams.safetensors"]


def test_whoever_may_read_new_files_may_read_statistics(tmp_path):
    write_statistics(GRAMS, tmp_path / "grams.safetensors")
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evomerge.checkpoint.statistics.save_file", full)
    with pytest.raises(InfrastructureError, match=r"cannot write .*: nothing half-written is left"):
        write_statistics(GRAMS, tmp_path / "grams.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_statistics_that_are_not_finite_are_not_written(tmp_path):
    damaged = {"layers.0.w": torch.tensor([[1.0, float("inf")]])}
    with pytest.raises(NonFiniteError, match=r"statistics of tensor 'layers\.0\.w' are not finite"):
        write_statistics(damaged, tmp_path / "grams.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_missing_statistics_say_how_to_collect_them(tmp_path):
    with pytest.raises(ModelError, match=r"no .* with the grams of math; .*`evomerge prepare"):
        open_statistics(tmp_path / "grams.safetensors", "grams of math")


def test_damaged_statistics_are_refused(tmp_path):
    path = tmp_path / "grams.safetensors"
    write_statistics(GRAMS, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"grams\.safetensors is .*expected whole safetensors"):
        open_statistics(path, "grams of math")
