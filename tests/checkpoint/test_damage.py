"""Damage that only a look at every byte can find: changed bits, NaN and infinity."""

import hashlib
import subprocess

import pytest
import torch

from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint


@pytest.fixture
def written(save, tensors, tmp_path):
    """A model that was written here, in several shards."""
    base = open_checkpoint(save("base"))
    write_checkpoint(tensors(1), tmp_path / "written", like=base, shard_bytes=900)
    return tmp_path / "written"


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def test_the_manifest_of_a_written_model_is_what_sha256sum_checks(written):
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=written, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = {file.name for file in written.iterdir()} - {"SHA256SUMS"}
    assert {line.removesuffix(": OK") for line in check.stdout.splitlines()} == files


def test_a_written_model_is_sound(written):
    assert find_damage(open_checkpoint(written)) == []


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("position", [-1, -100, -300])
def test_a_flipped_bit_is_found_and_its_shard_and_tensor_named(written, position, has_manifest):
    if not has_manifest:
        (written / "SHA256SUMS").unlink()
    shard = sorted(written.glob("*.safetensors"))[1]
    before = open_checkpoint(written)
    kept = {name: before.read(name).clone() for name in before.infos()}
    flip(shard, position)
    after = open_checkpoint(written)
    [changed] = [name for name in kept if not torch.equal(after.read(name), kept[name])]
    [problem] = find_damage(after)
    assert problem.where == f"model {written}"
    assert problem.message.startswith(f"tensor '{changed}' in {shard.name} is not what was written")
    assert "it was changed or damaged; download or write it again" in problem.message


def test_a_flipped_bit_of_a_file_of_which_only_the_manifest_tells_is_found(save):
    folder = save("base")
    weights = folder / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest} *model.safetensors\n")
    assert find_damage(open_checkpoint(folder)) == []
    flip(weights, -1)
    [problem] = find_damage(open_checkpoint(folder))
    assert problem.message.startswith("model.safetensors has the SHA-256 ")
    assert f"expected {digest}" in problem.message


def test_a_bit_flipped_in_the_header_is_found(written):
    shard = sorted(written.glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b'"format":"pt"', b'"format":"pu"'))
    [problem] = find_damage(open_checkpoint(written))
    assert problem.message.startswith(f"{shard.name} has the SHA-256 ")


def test_damage_and_non_finite_values_are_told_together(written):
    for shard in sorted(written.glob("*.safetensors"))[:2]:
        content = shard.read_bytes()
        shard.write_bytes(content[:-2] + b"\xc0\x7f")  # a NaN of bfloat16
    problems = [problem.message for problem in find_damage(open_checkpoint(written))]
    assert sum("is not what was written" in message for message in problems) == 2
    assert sum("entries that are NaN" in message for message in problems) == 2


def test_a_hub_s_cache_names_files_by_their_digests(save, tmp_path):
    folder = save("base")
    weights = folder / "model.safetensors"
    blob = tmp_path / hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.rename(blob)
    weights.symlink_to(blob)
    assert find_damage(open_checkpoint(folder)) == []
    flip(blob, -1)
    [problem] = find_damage(open_checkpoint(folder))
    assert f"expected {blob.name}" in problem.message


def test_a_manifest_that_cannot_be_read_is_a_problem(written):
    (written / "SHA256SUMS").write_text("<html>")
    problems = find_damage(open_checkpoint(written))
    assert problems
    assert all("SHA256SUMS, line 1 is '<html>', expected a SHA-256" in str(x) for x in problems)


def test_non_finite_tensors_are_found_and_counted(save, tensors):
    broken = tensors(0)
    broken["model.norm.weight"][:2] = float("nan")
    broken["lm_head.weight"][3, 4] = float("-inf")
    folder = save("broken", broken)
    problems = {str(problem) for problem in find_damage(open_checkpoint(folder))}
    assert len(problems) == 2
    assert any(
        "tensor 'model.norm.weight' in model.safetensors has 2 of 8 entries that are" in x
        for x in problems
    )
    assert any("tensor 'lm_head.weight' in model.safetensors has 1 of 128" in x for x in problems)
    assert all(x.startswith(f"model {folder}") for x in problems)


def test_a_clean_model_has_no_non_finite_tensors(save, tensors):
    clean = tensors(0) | {"steps": torch.arange(3), "scale": torch.tensor(1.0)}
    assert find_damage(open_checkpoint(save("clean", clean))) == []
