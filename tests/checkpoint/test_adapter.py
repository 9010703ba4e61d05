"""Adapters as experts: the weights that peft's own merge gives, without writing them."""

import copy
import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from evomerge.checkpoint.adapter import AdaptedModel, open_model, open_stored
from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.fingerprint import fingerprint
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import ModelError, ShapeError
from evomerge.merge.groups import layer_groups
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe

torch.set_num_threads(1)

LLAMA = LlamaConfig(
    vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
    num_attention_heads=2, attention_bias=True, tie_word_embeddings=False,
)  # fmt: skip
GPT2 = GPT2Config(
    vocab_size=16, n_embd=8, n_layer=2, n_head=2, n_positions=8, bos_token_id=1, eos_token_id=1
)


def save_base(folder: Path, config=LLAMA, dtype=torch.float32) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, settings: peft.PeftConfig) -> Path:
    """An adapter of the base whose tensors are all random, as if trained."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.get_peft_model(model, copy.deepcopy(settings))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(folder)
    return folder


def merged_by_peft(base: Path, adapter: Path, out: Path):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(out)
    return open_checkpoint(out)


LORA = {"r": 2, "lora_alpha": 6}
ADAPTERS = {
    "lora": (LLAMA, peft.LoraConfig(**LORA, target_modules=["q_proj", "down_proj"])),
    "rank-stabilised": (
        LLAMA,
        peft.LoraConfig(**LORA, use_rslora=True, target_modules=["up_proj"]),
    ),
    "patterns": (
        LLAMA,
        peft.LoraConfig(
            **LORA,
            target_modules=["q_proj", "down_proj"],
            rank_pattern={"q_proj": 3, r"^model.layers.1.mlp.down_proj": 4},
            alpha_pattern={r"layers\.1\.self_attn\.q_proj": 5},
        ),
    ),
    "embedding and head": (
        LLAMA,
        peft.LoraConfig(**LORA, target_modules=["embed_tokens", "q_proj", "lm_head"]),
    ),
    "modules to save": (
        LLAMA,
        peft.LoraConfig(
            **LORA, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens", "norm"]
        ),
    ),
    "biases": (LLAMA, peft.LoraConfig(**LORA, target_modules=["q_proj"], bias="all")),
    "biases of its modules": (
        LLAMA,
        peft.LoraConfig(**LORA, target_modules=["q_proj"], bias="lora_only"),
    ),
    "dora": (LLAMA, peft.LoraConfig(**LORA, use_dora=True, target_modules=["q_proj", "up_proj"])),
    "gpt2": (
        GPT2,
        peft.LoraConfig(**LORA, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]),
    ),
    "gpt2, dora": (
        GPT2,
        peft.LoraConfig(
            **LORA, use_dora=True, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"]
        ),
    ),
    "ia3": (
        LLAMA,
        peft.IA3Config(
            target_modules=["k_proj", "q_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
    ),
    "ia3, gpt2": (
        GPT2,
        peft.IA3Config(
            target_modules=["c_attn", "mlp.c_proj"],
            feedforward_modules=["mlp.c_proj"],
            fan_in_fan_out=True,
        ),
    ),
    "loha": (LLAMA, peft.LoHaConfig(r=2, alpha=3, target_modules=["k_proj", "down_proj"])),
    "lokr": (LLAMA, peft.LoKrConfig(r=2, alpha=3, target_modules=["k_proj", "down_proj"])),
    "lokr, factored": (
        LLAMA,
        peft.LoKrConfig(
            r=1, alpha=3, target_modules=["k_proj", "up_proj"], decompose_both=True,
            rank_pattern={"up_proj": 2},
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_gives_the_weights_of_pefts_own_merge(tmp_path, kind):
    config, settings = ADAPTERS[kind]
    base = open_checkpoint(save_base(tmp_path / "base", config))
    model = open_model(save_adapter(base.path, tmp_path / "adapter", settings), base)
    expected = merged_by_peft(base.path, tmp_path / "adapter", tmp_path / "merged")
    assert model.infos().keys() == expected.infos().keys()
    for name in expected.infos():
        torch.testing.assert_close(model.read(name), expected.read(name), rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(model.read(name), base.read(name)) for name in base.infos())
    assert compare(base, {"expert": model}) == []
    assert find_damage(model) == []


@pytest.mark.parametrize("kind", ["lora", "patterns", "embedding and head", "gpt2", "dora", "ia3"])
def test_the_factors_multiply_to_the_task_vector(tmp_path, kind):
    config, settings = ADAPTERS[kind]
    base = open_checkpoint(save_base(tmp_path / "base", config))
    model = open_model(save_adapter(base.path, tmp_path / "adapter", settings), base)
    factors = {name: model.factors(name) for name in base.infos()}
    for name, found in factors.items():
        if found is not None:
            b, a = found
            assert b.dtype == a.dtype == torch.float32
            assert b.shape[1] == a.shape[0] <= 4
            torch.testing.assert_close(b @ a, model.read(name) - base.read(name))
    has_factors = any(found is not None for found in factors.values())
    assert has_factors == (kind not in ("dora", "ia3"))


@pytest.fixture
def base(tmp_path):
    return open_checkpoint(save_base(tmp_path / "base", dtype=torch.bfloat16))


@pytest.fixture
def lora(base, tmp_path):
    return save_adapter(base.path, tmp_path / "lora", ADAPTERS["lora"][1])


def test_changed_tensors_are_float32_and_all_others_the_bases_own(base, lora):
    model = open_model(lora, base)
    changed = {name for name, info in model.infos().items() if info.dtype == torch.float32}
    assert changed == {
        f"model.layers.{layer}.{module}.weight"
        for layer in (0, 1)
        for module in ("self_attn.q_proj", "mlp.down_proj")
    }
    for name in base.infos():
        assert model.read(name).dtype == model.infos()[name].dtype
        assert (model.read(name).data_ptr() == base.read(name).data_ptr()) == (name not in changed)


def test_an_adapter_merges_as_its_merged_copy_does(base, lora, tmp_path):
    expected = merged_by_peft(base.path, lora, tmp_path / "merged")
    groups = layer_groups(base.infos(), granularity=1, split_modules=False)
    group = GroupRecipe("ties", {"coefficient": (0.7,), "density": (0.6,)})
    recipe = Recipe(("expert",), dict.fromkeys(groups, group))
    found = dict(PreparedMerge(base, {"expert": open_model(lora, base)}).merged(recipe))
    for name, tensor in PreparedMerge(base, {"expert": expected}).merged(recipe):
        assert found[name].dtype == torch.bfloat16
        torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=1e-6)


def test_a_checkpoint_may_name_its_tensors_with_one_prefix_less(tmp_path):
    folder = save_base(tmp_path / "base", GPT2)
    adapter = save_adapter(folder, tmp_path / "adapter", ADAPTERS["gpt2"][1])
    whole = open_model(adapter, open_checkpoint(folder))
    inner = {
        name.removeprefix("transformer."): x
        for name, x in load_file(folder / "model.safetensors").items()
    }
    save_file(inner, folder / "model.safetensors")
    model = open_model(adapter, open_checkpoint(folder))
    for name in inner:
        assert torch.equal(model.read(name), whole.read(f"transformer.{name}"))


def edit(adapter, change):
    settings = json.loads((adapter / "adapter_config.json").read_text())
    change(settings)
    (adapter / "adapter_config.json").write_text(json.dumps(settings))


def rewrite(adapter, change):
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")


def refusal(adapter, base, error=ModelError):
    with pytest.raises(error) as caught:
        open_model(adapter, base)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "VERA"}, "has peft_type VERA, expected one of LORA, IA3, LOHA, LOKR"),
        ({"peft_type": None}, "has peft_type None"),
        ({"target_parameters": ["mlp.experts"]}, "sets target_parameters, expected a plain LORA"),
        ({"lora_bias": True}, "sets lora_bias"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights 'pissa_niter_4', which changes",
        ),
        ({"r": None}, "has rank None and lora_alpha 6 for 'model.layers"),
        ({"rank_pattern": {"(": 3}}, r"has the pattern '\(', which is no regular expression"),
    ],
)
def test_what_is_no_plain_change_of_weights_is_refused_by_name(base, lora, settings, message):
    edit(lora, lambda found: found.update(settings))
    found = refusal(lora, base)
    assert message.replace("\\", "") in found
    assert "merge_and_unload" in found or "save the adapter again" in found


def test_a_tensor_of_another_method_is_refused_by_name(base, lora):
    rewrite(lora, lambda x: x.update({"base_model.model.model.norm.lora_C": torch.ones(1)}))
    assert "has the tensor 'base_model.model.model.norm.lora_C', expected" in refusal(lora, base)


def test_a_target_that_the_base_lacks_is_named(base, lora):
    rewrite(lora, lambda x: x.update({"base_model.model.model.extra.weight": torch.ones(1)}))
    found = refusal(lora, base)
    assert "changes 'model.extra.weight', which the base" in found
    assert "is this the base that it was trained on" in found


def test_an_adapter_of_a_tied_head_is_told_from_one_of_another_base(tmp_path, lora):
    tied = LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": True})
    base = open_checkpoint(save_base(tmp_path / "tied", tied))
    rewrite(lora, lambda x: x.update({"base_model.model.lm_head.weight": torch.ones(16, 8)}))
    assert "'lm_head.weight', which the base" in refusal(lora, base)
    assert "ties to its embedding" in refusal(lora, base)


def test_an_adapter_of_a_wider_base_is_refused_by_its_shapes(lora, tmp_path):
    wide = LlamaConfig(**{**LLAMA.to_dict(), "hidden_size": 10})
    base = open_checkpoint(save_base(tmp_path / "wide", wide))
    found = refusal(lora, base, ShapeError)
    assert "{'lora_A': (2, 12), 'lora_B': (8, 2)} for 'model.layers.0.mlp.down_proj" in found
    assert "expected what gives the base's shape (10, 12)" in found


def test_half_a_product_is_refused(base, lora):
    rewrite(lora, lambda x: x.pop(next(name for name in x if "lora_A" in name)))
    assert "expected what gives the base's shape" in refusal(lora, base, ShapeError)


def test_an_adapter_whose_weights_are_missing_is_refused(base, lora):
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    assert "has no adapter_model.safetensors" in refusal(lora, base)


def test_a_folder_with_a_model_and_an_adapter_is_refused(base, lora):
    shutil.copy(base.path / "model.safetensors", lora)
    assert "holds a model and an adapter, expected one of them" in refusal(lora, base)


def test_an_adapter_is_no_base(lora):
    with pytest.raises(ModelError, match=r"holds an adapter, expected a full model: only an exp"):
        open_checkpoint(lora)


def test_non_finite_tensors_of_an_adapter_are_found_by_its_own_names(base, lora):
    rewrite(lora, lambda x: x[next(iter(x))].fill_(float("nan")))
    [problem] = find_damage(open_model(lora, base))
    assert problem.where == f"model {lora}"
    assert "tensor 'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight' in" in str(problem)


def test_the_settings_of_an_adapter_are_part_of_its_identity(base, lora):
    before = fingerprint(open_stored(lora))
    assert isinstance(open_model(lora, base), AdaptedModel)
    edit(lora, lambda found: found.update({"lora_alpha": 7}))
    assert fingerprint(open_stored(lora)) != before
