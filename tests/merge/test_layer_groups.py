"""Layer groups from the tensor names of many architectures."""

import pytest

from evomerge.errors import UsageError
from evomerge.merge.groups import assign, layer_groups, place

LLAMA = "self_attn.q_proj.weight mlp.gate_proj.weight input_layernorm.weight"
ENDS = "model.embed_tokens.weight model.norm.weight lm_head.weight"

# (names outside layers, prefix of a layer, names in a layer, groups outside layers, modules)
ARCHITECTURES = {
    "llama": (ENDS, "model.layers", LLAMA, "embeddings final_norm head", "attention mlp other"),
    "qwen3, tied": (
        "model.embed_tokens.weight model.norm.weight",
        "model.layers",
        LLAMA + " self_attn.q_norm.weight self_attn.k_norm.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "gemma2": (
        "model.embed_tokens.weight model.norm.weight",
        "model.layers",
        LLAMA + " post_attention_layernorm.weight pre_feedforward_layernorm.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "phi3": (
        ENDS,
        "model.layers",
        "self_attn.qkv_proj.weight mlp.gate_up_proj.weight post_attention_layernorm.weight",
        "embeddings final_norm head",
        "attention mlp other",
    ),
    "mixtral": (
        ENDS,
        "model.layers",
        "self_attn.q_proj.weight block_sparse_moe.gate.weight "
        "block_sparse_moe.experts.0.w1.weight block_sparse_moe.experts.13.w2.weight",
        "embeddings final_norm head",
        "attention mlp",
    ),
    "gpt2": (
        "wte.weight wpe.weight ln_f.weight ln_f.bias",
        "h",
        "ln_1.weight attn.c_attn.weight mlp.c_fc.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "gpt_neox": (
        "gpt_neox.embed_in.weight gpt_neox.final_layer_norm.weight embed_out.weight",
        "gpt_neox.layers",
        "attention.dense.weight mlp.dense_h_to_4h.weight post_attention_layernorm.bias",
        "embeddings final_norm head",
        "attention mlp other",
    ),
    "t5": (
        "shared.weight encoder.final_layer_norm.weight decoder.final_layer_norm.weight",
        "decoder.block",
        "layer.0.SelfAttention.q.weight layer.1.EncDecAttention.k.weight "
        "layer.2.DenseReluDense.wi.weight layer.2.layer_norm.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "mamba": (
        "backbone.embeddings.weight backbone.norm_f.weight",
        "backbone.layers",
        "norm.weight mixer.A_log mixer.conv1d.weight mixer.in_proj.weight",
        "embeddings final_norm",
        "other",
    ),
    "bloom": (
        "word_embeddings.weight word_embeddings_layernorm.weight ln_f.weight",
        "h",
        "self_attention.dense.weight mlp.dense_4h_to_h.weight input_layernorm.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "opt": (
        "model.decoder.embed_positions.weight model.decoder.final_layer_norm.weight",
        "model.decoder.layers",
        "self_attn.k_proj.weight fc1.weight fc2.bias self_attn_layer_norm.weight",
        "embeddings final_norm",
        "attention mlp other",
    ),
    "qwen3_next": (
        ENDS + " model.rotary_emb.inv_freq",
        "model.layers",
        "linear_attn.A_log linear_attn.norm.weight mlp.experts.gate_up_proj "
        "mlp.shared_expert_gate.weight input_layernorm.weight",
        "embeddings final_norm head other",
        "attention mlp other",
    ),
}


def names_of(architecture, n_layers):
    ends, prefix, inner, _, _ = ARCHITECTURES[architecture]
    layers = [f"{prefix}.{i}.{name}" for i in range(n_layers) for name in inner.split()]
    return sorted([*ends.split(), *layers])


def in_depth_order(ends, blocks):
    after = [end for end in ends.split() if end != "embeddings"]
    return ("embeddings", *blocks, *after)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_are_grouped_in_depth_order(architecture):
    ends = ARCHITECTURES[architecture][3]
    groups = layer_groups(names_of(architecture, 12), granularity=5, split_modules=False)
    assert groups == in_depth_order(ends, ["layers.0-4", "layers.5-9", "layers.10-11"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modules_can_be_groups_of_their_own(architecture):
    _, _, _, ends, modules = ARCHITECTURES[architecture]
    groups = layer_groups(names_of(architecture, 2), granularity=1, split_modules=True)
    blocks = [f"layers.{i}-{i}.{module}" for i in range(2) for module in modules.split()]
    assert groups == in_depth_order(ends, blocks)


@pytest.mark.parametrize("split_modules", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_belongs_to_one_of_the_groups(architecture, split_modules):
    names = names_of(architecture, 3)
    groups = layer_groups(names, granularity=2, split_modules=split_modules, routers=True)
    owners = assign(names, groups)
    assert list(owners) == names
    assert set(owners.values()) == set(groups)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.layers.3.self_attn.q_norm.weight", "layers.3-3.attention"),
        ("model.layers.3.post_attention_layernorm.weight", "layers.3-3.other"),
        ("model.layers.31.block_sparse_moe.experts.5.w1.weight", "layers.31-31.mlp"),
        ("model.layers.3.block_sparse_moe.gate.weight", "layers.3-3.router"),
        ("model.layers.3.mlp.gate.e_score_correction_bias", "layers.3-3.router"),
        ("model.layers.3.mlp.router.weight", "layers.3-3.router"),
        ("model.layers.3.feed_forward.router.weight", "layers.3-3.router"),
        ("model.layers.3.mlp.gate_proj.weight", "layers.3-3.mlp"),
        ("model.layers.3.mlp.experts.0.gate.weight", "layers.3-3.mlp"),
        ("model.layers.3.mlp.shared_expert_gate.weight", "layers.3-3.mlp"),
        ("encoder.block.0.layer.1.DenseReluDense.wo.weight", "layers.0-0.mlp"),
        ("vision_tower.encoder.layers.3.self_attn.q_proj.weight", "other"),
        ("model.rotary_emb.inv_freq", "other"),
        ("lm_head.bias", "head"),
    ],
)
def test_a_tensor_s_place_is_read_from_its_name(name, group):
    assert place(name) == group


def test_groups_of_a_recipe_may_mix_whole_layers_and_modules():
    names = [name for name in names_of("llama", 2) if ".layers." in name]
    groups = ["layers.0-0", "layers.1-1.attention", "layers.1-1.mlp", "layers.1-1.other"]
    owners = assign(names, groups)
    assert owners["model.layers.0.mlp.gate_proj.weight"] == "layers.0-0"
    assert owners["model.layers.1.mlp.gate_proj.weight"] == "layers.1-1.mlp"


def test_routers_are_in_groups_of_their_own_and_nobody_s_unless_asked_for():
    names = names_of("mixtral", 2)
    router = "model.layers.1.block_sparse_moe.gate.weight"
    groups = layer_groups(names, granularity=2, split_modules=False)
    assert groups == ("embeddings", "layers.0-1", "final_norm", "head")
    assert assign(names, groups)[router] == "layers.1-1.router"
    groups = layer_groups(names, granularity=2, split_modules=False, routers=True)
    assert groups == ("embeddings", "layers.0-1", "layers.0-1.router", "final_norm", "head")
    assert assign(names, groups)[router] == "layers.0-1.router"


def test_a_tensor_without_a_group_is_refused_with_the_group_it_needs():
    with pytest.raises(UsageError, match=r"'model.norm.weight' belongs to no group.*'final_norm'"):
        assign(["model.norm.weight"], ["embeddings"])


def test_a_tensor_with_two_groups_is_refused():
    with pytest.raises(UsageError, match=r"several groups of the recipe \(layers.0-3, layers.2-5"):
        assign(["h.2.attn.c_attn.weight"], ["layers.0-3", "layers.2-5"])


def test_a_group_without_tensors_is_refused():
    with pytest.raises(UsageError, match=r"layer groups layers.4-7 of the recipe hold no tensor"):
        assign(["h.2.attn.c_attn.weight"], ["layers.0-3", "layers.4-7"])


@pytest.mark.parametrize("name", ["layer.0-3", "layers.0", "layers.0-1.norm", "embedding"])
def test_a_group_name_without_a_meaning_is_refused(name):
    with pytest.raises(UsageError, match=f"layer group '{name}' is not known"):
        assign(["wte.weight"], [name])


def test_a_granularity_below_one_is_refused():
    with pytest.raises(UsageError, match="granularity is 0, expected at least 1"):
        layer_groups(["wte.weight"], granularity=0, split_modules=False)
