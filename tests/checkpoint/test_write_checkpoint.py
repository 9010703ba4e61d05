"""Writing a model folder: exact, complete or absent, and loadable by Hugging Face."""

import errno
import hashlib
import json
import os
from collections.abc import Mapping

import pytest
import torch
from safetensors import safe_open

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.errors import InfrastructureError, ModelError, NonFiniteError, ShapeError, UsageError
from evomerge.records import TensorInfo


@pytest.fixture
def base(save):
    folder = save("base")
    (folder / "generation_config.json").write_text('{"do_sample": false}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "modeling_custom.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("the base's own card")
    return open_checkpoint(folder)


def assert_holds(folder, expected):
    written = open_checkpoint(folder)
    assert set(written.infos()) == set(expected)
    for name, tensor in expected.items():
        assert written.read(name).dtype == tensor.dtype
        assert torch.equal(written.read(name), tensor)


def test_tensors_are_written_exactly(base, tensors, tmp_path):
    write_checkpoint(tensors(1), tmp_path / "new" / "merged", like=base)
    assert_holds(tmp_path / "new" / "merged", tensors(1))
    with safe_open(tmp_path / "new" / "merged" / "model.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"
        digests = json.loads(file.metadata()["sha256"])
    for name, tensor in tensors(1).items():
        data = tensor.view(torch.uint8).numpy().tobytes()
        assert digests[name] == hashlib.sha256(data).hexdigest()


def test_the_base_itself_can_be_written_from_its_views(base, tensors, tmp_path):
    pairs = ((name, base.read(name)) for name in base.infos())
    write_checkpoint(pairs, tmp_path / "copy", like=base)
    assert_holds(tmp_path / "copy", tensors(0))


def test_config_tokenizer_and_template_come_from_the_base_and_code_does_not(
    base, tensors, tmp_path
):
    write_checkpoint(tensors(1), tmp_path / "merged", like=base)
    assert {file.name for file in (tmp_path / "merged").iterdir()} == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "model.safetensors",
        "SHA256SUMS",
    }
    copied, original = (folder / "config.json" for folder in (tmp_path / "merged", base.path))
    assert copied.read_bytes() == original.read_bytes()


def test_tensors_may_be_computed_as_they_are_looked_up(base, tensors, tmp_path):
    class Doubled(Mapping):
        def __getitem__(self, name):
            return 2 * tensors(1)[name]

        def __iter__(self):
            return iter(tensors(1))

        def __len__(self):
            return 21

    write_checkpoint(Doubled(), tmp_path / "merged", like=base)
    assert_holds(tmp_path / "merged", {name: 2 * x for name, x in tensors(1).items()})


def test_tensors_of_all_dtypes_and_ranks_are_written(save, tmp_path):
    tensors = {
        "flags": torch.tensor([True, False, True]),
        "scale": torch.tensor(1.5, dtype=torch.float64),
        "experts": torch.randn(2, 3, 5).half(),
        "nothing": torch.empty(0, 4),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "steps": torch.arange(3),
        "transposed": torch.randn(3, 4).T,
        "weight": torch.randn(3, 3).bfloat16(),
    }
    base = open_checkpoint(save("base", {name: x.contiguous() for name, x in tensors.items()}))
    write_checkpoint(tensors, tmp_path / "merged", like=base)
    assert_holds(tmp_path / "merged", tensors)


def test_the_file_does_not_depend_on_the_order_of_the_tensors(base, tensors, checksums, tmp_path):
    write_checkpoint(tensors(1), tmp_path / "merged", like=base)
    write_checkpoint(dict(reversed(tensors(1).items())), tmp_path / "again", like=base)
    assert checksums(tmp_path / "merged") == checksums(tmp_path / "again")


def test_large_models_are_split_and_indexed(base, tensors, tmp_path):
    write_checkpoint(
        dict(reversed(tensors(1).items())), tmp_path / "merged", like=base, shard_bytes=900
    )
    assert_holds(tmp_path / "merged", tensors(1))
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors(1))
    sizes = [file.stat().st_size for file in (tmp_path / "merged").glob("*.safetensors")]
    assert len(sizes) > 2
    assert max(sizes) < 900 + 2000  # and the header


def test_an_empty_folder_is_filled(base, tensors, tmp_path):
    (tmp_path / "merged").mkdir()
    write_checkpoint(tensors(1), tmp_path / "merged", like=base)
    assert_holds(tmp_path / "merged", tensors(1))


def test_a_folder_with_something_in_it_is_refused(base, tensors):
    with pytest.raises(UsageError, match="base exists and is not an empty folder"):
        write_checkpoint(tensors(1), base.path, like=base)


def changed(tensors, **changes):
    return [*(tensors(1) | changes).items()]


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (lambda t: changed(t)[:-1], ModelError, "1 of the model's 21 tensors were not given"),
        (lambda t: [*changed(t), ("x", torch.ones(1))], ModelError, "'x' was given and is unknown"),
        (lambda t: [*changed(t), changed(t)[0]], ModelError, "was given twice"),
        (
            lambda t: [(name, x.float()) for name, x in changed(t)],
            ModelError,
            "has dtype torch.float32, expected torch.bfloat16",
        ),
        (lambda t: [(n, x[:1]) for n, x in changed(t)], ShapeError, r"has shape \(1, 8\)"),
        (
            lambda t: changed(t, **{"model.norm.weight": torch.full((8,), torch.nan).bfloat16()}),
            NonFiniteError,
            "tensor 'model.norm.weight' has entries that are NaN",
        ),
    ],
)
def test_what_is_not_a_merge_of_the_base_is_refused_and_leaves_nothing(
    base, tensors, tmp_path, pairs, error, message
):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        write_checkpoint(iter(pairs(tensors)), tmp_path / "merged", like=base)
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_write_leaves_nothing(base, tensors, tmp_path):
    def interrupted():
        yield next(iter(tensors(1).items()))
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(interrupted(), tmp_path / "merged", like=base)
    assert sorted(tmp_path.iterdir()) == before


def test_a_place_that_cannot_be_written_is_told_and_left_clean(base, tmp_path):
    (tmp_path / "file").write_text("no folder")
    before = set(tmp_path.iterdir())
    tensors = [(name, base.read(name)) for name in base.infos()]
    with pytest.raises(InfrastructureError, match=r"cannot write .*file/model: .*free space or"):
        write_checkpoint(tensors, tmp_path / "file" / "model", like=base)
    assert set(tmp_path.iterdir()) == before


def test_a_disk_that_is_full_half_way_leaves_nothing(base, tensors, tmp_path, monkeypatch):
    writes = iter(range(15))
    write = os.pwrite

    def full_at_last(*arguments):
        if next(writes, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", full_at_last)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InfrastructureError, match=r"No space left.*nothing half-written is left"):
        write_checkpoint(iter(tensors(1).items()), tmp_path / "merged", like=base)
    assert sorted(tmp_path.iterdir()) == before


def test_writes_that_the_system_cuts_short_go_on(base, tensors, tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:7], at))
    write_checkpoint(tensors(1), tmp_path / "merged", like=base)
    assert_holds(tmp_path / "merged", tensors(1))


def test_documents_are_written_beside_the_weights(base, tmp_path):
    tensors = [(name, base.read(name)) for name in base.infos()]
    write_checkpoint(tensors, tmp_path / "model", like=base, documents={"README.md": "Grüße"})
    assert (tmp_path / "model/README.md").read_text(encoding="utf-8") == "Grüße"


def test_a_model_may_differ_from_the_base_in_tensors_config_and_tokenizer(
    base, save, tensors, tmp_path
):
    kept = {name: tensor for name, tensor in tensors(1).items() if ".layers.1." not in name}
    infos = {name: TensorInfo(name, tuple(x.shape), x.dtype) for name, x in kept.items()}
    other = save("other")
    (other / "tokenizer.json").write_text('{"version": "1.0"}')
    write_checkpoint(
        kept,
        tmp_path / "shorter",
        like=base,
        infos=infos,
        config_changes={"num_hidden_layers": 1},
        tokenizer_from=other,
    )
    assert_holds(tmp_path / "shorter", kept)
    written = open_checkpoint(tmp_path / "shorter")
    assert written.config == {**base.config, "num_hidden_layers": 1}
    assert (tmp_path / "shorter/tokenizer.json").read_text() == '{"version": "1.0"}'
    assert not (tmp_path / "shorter/chat_template.jinja").exists()
    assert (tmp_path / "shorter/generation_config.json").exists()
