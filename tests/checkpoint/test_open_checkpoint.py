"""Opening models: what is read, and how every kind of broken folder is refused."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import ModelError


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["save", "save_sharded"])
def test_a_model_is_read_as_it_was_saved(layout, request, tensors):
    checkpoint = open_checkpoint(request.getfixturevalue(layout)("base", seed=3))
    assert set(checkpoint.infos()) == set(tensors(3))
    for name, tensor in tensors(3).items():
        assert torch.equal(checkpoint.read(name), tensor)
        assert checkpoint.infos()[name].shape == tuple(tensor.shape)
        assert checkpoint.infos()[name].dtype == tensor.dtype
    assert checkpoint.config["model_type"] == "llama"


def test_tensors_are_views_of_the_mapped_file(save):
    folder = save("base")
    tensor = open_checkpoint(folder).read("model.norm.weight")
    with open("/proc/self/maps") as maps:  # noqa: PTH123 - a procfs file
        mapped = [line for line in maps if str(folder) in line]
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    assert any(start <= tensor.data_ptr() < stop for start, stop in ranges)


def test_tensors_come_in_the_order_of_their_data(save):
    checkpoint = open_checkpoint(save("base"))
    addresses = [checkpoint.read(name).data_ptr() for name in checkpoint.infos()]
    assert addresses == sorted(addresses)


def test_writing_to_a_view_does_not_reach_the_file(save, checksums):
    folder = save("base")
    before = checksums(folder)
    open_checkpoint(folder).read("model.norm.weight").fill_(7)
    assert checksums(folder) == before


def test_a_misspelt_folder_is_refused_with_its_neighbour(save, tmp_path):
    save("german")
    message = refusal(tmp_path / "germn")
    assert "germn does not exist" in message
    assert "did you mean 'german'" in message
    assert "hf download" in message


def test_a_folder_without_a_parent_is_refused(tmp_path):
    assert "nor does its parent folder" in refusal(tmp_path / "nowhere" / "base")


def test_a_file_in_place_of_a_folder_is_refused(save):
    assert "base/config.json is a file" in refusal(save("base") / "config.json")


def test_a_folder_without_a_config_is_refused(save):
    folder = save("base")
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json cannot be read as JSON"),
        ("[1]", "config.json holds a list, expected a JSON object"),
        ("[" * 100_000, "config.json cannot be read as JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "this is a Git LFS pointer"),
    ],
)
def test_a_broken_config_is_refused(save, content, message):
    folder = save("base")
    (folder / "config.json").write_text(content)
    assert message in refusal(folder)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_a_quantised_model_is_refused_by_its_config(save, method):
    folder = save("base", quantization_config={"bits": 4, "quant_method": method})
    found = refusal(folder)
    assert f"is quantised (its config.json has a quantization_config, of {method})" in found
    assert "use the model it was made from" in found


def test_a_model_whose_text_part_is_quantised_is_refused(save):
    folder = save("base", text_config={"quantization_config": {}})
    assert "has a quantization_config, of no known kind" in refusal(folder)


def test_a_quantised_model_is_refused_by_an_older_config(save):
    folder = save("base")
    (folder / "quantize_config.json").write_text("{}")
    assert "is quantised (it has a quantize_config.json)" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model.layers.0.mlp.up_proj.qweight", torch.ones(2, 2, dtype=torch.int32)),
        ("model.layers.0.mlp.up_proj.weight_scale", torch.ones(2, 1)),
        ("model.layers.0.mlp.up_proj.SCB", torch.ones(2)),
        ("model.layers.0.mlp.up_proj.weight", torch.ones(2, 2, dtype=torch.int8)),
    ],
)
def test_a_quantised_model_is_refused_by_its_tensors(save, name, tensor):
    found = refusal(save("base", {name: tensor}))
    assert "is quantised" in found
    assert f"tensor '{name}'" in found


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_with_the_conversion_and_never_loaded(save, tmp_path, name):
    folder = save("base")
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "marker"
    payload = f"cposix\nsystem\n(S'touch {marker}'\ntR."  # a pickle that would run a command
    (folder / name).write_text(payload)
    message = refusal(folder)
    assert f"holds its weights as {name}" in message
    assert f'from_pretrained("{folder}"' in message
    assert "safe_serialization=True" in message
    assert not marker.exists()


def test_an_adapter_is_refused_with_the_way_to_merge_it(save):
    folder = save("base")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert "merge_and_unload" in refusal(folder)


def test_a_folder_without_weights_is_refused(save):
    folder = save("base")
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors nor model.safetensors.index.json" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "'git lfs pull'"),
        (b"<!DOCTYPE html><html>404", "is a web page"),
        (b"\x80\x02}q\x00.", "is a PyTorch pickle under another name"),
        (b"\x80\x02" + b"\0" * 6 + b'{"a": ', "is damaged: "),  # of a header of 640 bytes
        (b"PK\x03\x04" + b"\0" * 60, "is a PyTorch pickle under another name"),
        (b"\0" * 8 + b"{}", "is damaged"),
        (b"\xff" * 64, "is damaged"),
    ],
)
def test_what_is_no_safetensors_is_named(save, content, message):
    folder = save("base")
    (folder / "model.safetensors").write_bytes(content)
    found = refusal(folder)
    assert str(folder / "model.safetensors") in found
    assert message in found


def test_a_sound_file_may_start_like_a_pickle(save, raw_safetensors):
    header = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x80)
    folder = save("base")
    (folder / "model.safetensors").write_bytes(raw_safetensors(header, b"\0" * 4))
    assert (folder / "model.safetensors").read_bytes().startswith(b"\x80")
    assert open_checkpoint(folder).read("a").tolist() == [0.0]


def test_a_file_cut_anywhere_is_refused(save):
    folder = save("base")
    whole = (folder / "model.safetensors").read_bytes()
    for stop in range(0, len(whole), len(whole) // 100):
        (folder / "model.safetensors").write_bytes(whole[:stop])
        assert re.search("is damaged|is an empty file", refusal(folder))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "is damaged"),
        ('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":0}', "is damaged"),
        ("[" * 50_000, "is damaged"),
        (
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            "names 'a' twice",
        ),
        ('{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', "has dtype F8_E4M3"),
    ],
)
def test_a_hostile_header_is_refused(save, raw_safetensors, header, message):
    folder = save("base")
    (folder / "model.safetensors").write_bytes(raw_safetensors(header, b"\0" * 4))
    assert message in refusal(folder)


def rewrite_index(folder, change):
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    change(index["weight_map"])
    file.write_text(json.dumps(index))


def test_a_damaged_shard_is_named(save_sharded):
    folder = save_sharded("base")
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "model-00002-of-00002.safetensors is damaged" in refusal(folder)


def test_a_missing_shard_is_named(save_sharded):
    folder = save_sharded("base")
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "missing, the first is 'model-00002-of-00002.safetensors'" in refusal(folder)


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "model.safetensors"])
@pytest.mark.parametrize(
    ("make", "found"), [(Path.mkdir, "is a folder"), (os.mkfifo, "is no regular file")]
)
def test_what_is_no_file_is_not_read(save_sharded, name, make, found):
    folder = save_sharded("base")
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    assert f"{name} {found}, expected a safetensors file" in refusal(folder)


@pytest.mark.parametrize("shard", ["../x.safetensors", "/x.safetensors", "..\\x", "C:x", "", ".."])
def test_an_index_that_points_outside_its_folder_is_refused(save_sharded, shard):
    folder = save_sharded("base")
    rewrite_index(folder, lambda weights: weights.update({"model.norm.weight": shard}))
    assert f"names the file '{shard}', expected a bare file name" in refusal(folder)


def test_an_index_that_lists_a_tensor_no_shard_has_is_refused(save_sharded):
    folder = save_sharded("base")
    first = "model-00001-of-00002.safetensors"
    rewrite_index(folder, lambda weights: weights.update({"model.extra": first}))
    assert "disagree on 1 tensors, such as 'model.extra'" in refusal(folder)


def test_an_index_that_leaves_out_a_tensor_is_refused(save_sharded):
    folder = save_sharded("base")
    rewrite_index(folder, lambda weights: weights.pop("model.norm.weight"))
    assert "disagree on 1 tensors, such as 'model.norm.weight'" in refusal(folder)


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}])
def test_an_index_without_a_map_is_refused(save_sharded, weight_map):
    folder = save_sharded("base")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "has no usable 'weight_map'" in refusal(folder)


def test_an_unknown_tensor_is_refused(save):
    folder = save("base")
    with pytest.raises(ModelError, match=rf"{folder} has no tensor 'x'; it has 21 tensors"):
        open_checkpoint(folder).read("x")


@pytest.mark.parametrize(
    ("config", "n_tensors"),
    [
        ({"tie_word_embeddings": True}, 20),
        ({"tie_word_embeddings": None}, 21),  # a Llama does not tie by default
        ({"tie_word_embeddings": None, "model_type": "gemma"}, 20),  # a Gemma does
        ({"tie_word_embeddings": None, "model_type": "unheard_of"}, 21),
    ],
)
def test_a_stored_copy_of_a_tied_head_is_left_out(save, config, n_tensors):
    assert len(open_checkpoint(save("base", **config)).infos()) == n_tensors


def test_a_folder_of_symbolic_links_opens(save, tmp_path):
    folder, linked = save("base"), tmp_path / "snapshot"
    linked.mkdir()
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file)
    assert len(open_checkpoint(linked).infos()) == 21


def test_scalars_and_integers_are_read(save):
    tensors = {"scale": torch.tensor(1.5), "steps": torch.arange(3), "on": torch.tensor([True])}
    checkpoint = open_checkpoint(save("base", tensors))
    assert checkpoint.infos()["scale"].shape == ()
    assert all(torch.equal(checkpoint.read(name), tensors[name]) for name in tensors)


def test_two_shards_with_the_same_tensor_are_refused(save_sharded, tensors):
    folder = save_sharded("base")
    both = {name: tensors(0)[name] for name in list(tensors(0))[8:]}
    save_file(both, folder / "model-00002-of-00002.safetensors")
    assert "disagree on 1 tensors" in refusal(folder)
