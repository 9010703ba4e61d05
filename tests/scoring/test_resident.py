import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from evomerge.errors import ModelError, ScoringError
from evomerge.scoring.resident import ResidentModel, resolve_dtype
from tests.families import save_family
from tests.tiny import TinyZoo, write_model, write_tokenizer


@pytest.fixture
def folder(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the base to spoil."""
    return Path(shutil.copytree(tiny_zoo.base, tmp_path / "model"))


def edit_json(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_live_tensors_are_the_checkpoints_under_its_own_names(
    tmp_path: Path, architecture: str, tied: bool
) -> None:
    path = write_model(tmp_path / "model", seed=1, architecture=architecture, tied=tied)
    stored = load_file(path / "model.safetensors")
    resident = ResidentModel.from_folder(path, dtype=torch.float32)
    assert resident.tensors.keys() == stored.keys()
    for name, tensor in resident.tensors.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].float())


@pytest.mark.parametrize("tied", [False, True])
def test_writing_another_model_into_the_tensors_makes_it_that_model(
    tmp_path: Path, tied: bool
) -> None:
    first, second = (write_model(tmp_path / str(seed), seed=seed, tied=tied) for seed in (1, 2))
    resident = ResidentModel.from_folder(first, dtype=torch.float32)
    for name, value in load_file(second / "model.safetensors").items():
        resident.tensors[name].copy_(value)
    tokens = torch.arange(3, 40)[None]
    expected = AutoModelForCausalLM.from_pretrained(second, dtype=torch.float32)(tokens).logits
    assert torch.equal(resident.model(tokens).logits, expected)


def test_the_second_name_of_a_tied_weight_is_written_to_without_effect(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model", seed=1, tied=True)
    edit_weights(path, lambda t: t.update({"lm_head.weight": 1 * t["model.embed_tokens.weight"]}))
    resident = ResidentModel.from_folder(path, dtype=torch.float32)
    tokens = torch.arange(3, 9)[None]
    before = resident.model(tokens).logits
    resident.tensors["lm_head.weight"].zero_()
    assert torch.equal(resident.model(tokens).logits, before)


def test_a_tensor_the_architecture_ignores_has_a_place(folder: Path) -> None:
    edit_weights(
        folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    )
    resident = ResidentModel.from_folder(folder, dtype=torch.float32)
    assert resident.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"].shape == (4,)


def test_a_tensor_without_a_place_is_named(folder: Path) -> None:
    edit_weights(folder, lambda t: t.update({"model.layers.7.extra": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"1 tensor.*such as model\.layers\.7\.extra.*in place"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


def test_tied_weights_that_differ_in_the_file_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model", seed=1, tied=True)
    edit_weights(path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    with pytest.raises(ModelError, match=r"lm_head\.weight.*embed_tokens.*tie_word_embeddings"):
        ResidentModel.from_folder(path, dtype=torch.float32)


def test_experts_that_are_fused_on_load_are_slices_of_the_fused_tensors(tmp_path: Path) -> None:
    first, second = (save_family(tmp_path / str(seed), "mixtral", seed) for seed in (1, 2))
    write_tokenizer(first)
    resident = ResidentModel.from_folder(first, dtype=torch.float32)
    for name, value in load_file(second / "model.safetensors").items():
        resident.tensors[name].copy_(value)
    tokens = torch.arange(3, 20)[None]
    expected = AutoModelForCausalLM.from_pretrained(second, dtype=torch.float32)(tokens).logits
    assert torch.equal(resident.model(tokens).logits, expected)


def test_a_name_that_looks_like_an_ignored_one_keeps_its_place(tmp_path: Path) -> None:
    path = save_family(tmp_path, "gpt2", seed=1)
    write_tokenizer(path)
    resident = ResidentModel.from_folder(path, dtype=torch.float32)
    tokens = torch.arange(3, 9)[None]
    before = resident.model(tokens).logits
    resident.tensors["transformer.h.0.attn.c_attn.bias"].normal_()
    assert not torch.equal(resident.model(tokens).logits, before)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    edit_weights(folder, lambda t: t.pop("model.norm.weight"))
    with pytest.raises(ModelError, match=r"lacks 1 tensor.*such as model\.norm\.weight.*complete"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    edit_weights(folder, lambda t: t.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(ModelError, match=r"cannot load"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_brings_code_is_refused(folder: Path, file: str) -> None:
    edit_json(folder / file, lambda c: c.update({"auto_map": {"AutoConfig": "evil.Config"}}))
    (folder / "evil.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(ModelError, match=rf"{file} has an auto_map.*never run"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.mark.parametrize("model_type", ["hyena9000", "t5", None])
def test_an_architecture_without_a_causal_language_model_is_refused(
    folder: Path, model_type: str | None
) -> None:
    edit_json(folder / "config.json", lambda c: c.update({"model_type": model_type}))
    with pytest.raises(ModelError, match=rf"model_type {model_type!r}, expected a causal"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", r"cannot read .*config\.json.*Hugging Face format"),
        ("model.safetensors", r"cannot read .*model\.safetensors.*expected safetensors"),
        ("tokenizer.json", r"tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder: Path, file: str, message: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ModelError, match=message):
        ResidentModel.from_folder(folder, dtype=torch.float32)


def test_a_config_that_is_not_an_object_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config\.json holds a list, expected a JSON object"):
        ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    ("name", "device", "resolved"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda:1", "bfloat16"),
        ("float16", "cpu", "float16"),
        ("bfloat16", "cpu", "bfloat16"),
    ],
)
def test_auto_is_float32_on_a_cpu_and_the_checkpoints_dtype_elsewhere(
    name: str, device: str, resolved: str
) -> None:
    assert resolve_dtype(name, "bfloat16", device) == resolved


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(ScoringError, match=r"dtype 'int8' is unknown, expected auto or one of"):
        resolve_dtype("int8", "bfloat16", "cpu")
