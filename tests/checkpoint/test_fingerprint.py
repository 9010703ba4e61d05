"""The identity of a model."""

import pytest
import torch

from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.checkpoint.reader import open_checkpoint


@pytest.fixture
def identity(save):
    return lambda *args, **kwargs: fingerprint(open_checkpoint(save(*args, **kwargs)))


def test_a_copy_has_the_same_fingerprint(identity):
    assert identity("one") == identity("two")


def test_a_fingerprint_does_not_depend_on_the_shards(identity, save_sharded):
    assert identity("one") == fingerprint(open_checkpoint(save_sharded("two")))


def test_any_change_changes_the_fingerprint(identity, tensors):
    flipped = tensors(0)
    flipped["model.norm.weight"].view(torch.int16)[3] ^= 1  # one bit
    renamed = {name.replace("norm", "ln"): tensor for name, tensor in tensors(0).items()}
    reshaped = tensors(0) | {"model.norm.weight": tensors(0)["model.norm.weight"].view(2, 4)}
    recast = tensors(0) | {"model.norm.weight": tensors(0)["model.norm.weight"].view(torch.float16)}
    found = {
        identity("base"),
        identity("flipped", flipped),
        identity("renamed", renamed),
        identity("reshaped", reshaped),
        identity("recast", recast),
        identity("config", rope_theta=5e5),
    }
    assert len(found) == 6


def test_scalars_count(identity):
    one, two = {"scale": torch.tensor(1.0)}, {"scale": torch.tensor(2.0)}
    assert identity("one", one) != identity("two", two)


def test_another_tokenizer_is_another_identity(save):
    folder = save("base")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    before = fingerprint(open_checkpoint(folder))
    (folder / "tokenizer.json").write_text('{"version": "1.1"}')
    assert fingerprint(open_checkpoint(folder)) != before
