"""Models whose layers are a path through the layers of others."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from evomerge.checkpoint.layer_names import (
    comes_after,
    count_layers,
    layer_of,
    with_layer,
    writes_to_residual,
)
from evomerge.checkpoint.layer_stack import Hop, LayerPath, LayerStack, ScaledTensors
from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.errors import ModelError, UsageError
from tests.tiny import write_expert, write_model

FAMILIES = ("llama", "qwen2", "gpt_neox", "gpt2")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checkpoint]:
    return _pair(tmp_path_factory.mktemp("llama"), "llama")


def test_the_path_of_all_layers_is_the_model_itself(llama: Mapping[str, Checkpoint]) -> None:
    stack = LayerStack(llama, LayerPath.of([("red", 0, 1.0), ("red", 1, 1.0), ("red", 2, 1.0)]))
    assert dict(stack.infos()) == dict(llama["red"].infos())
    for name in stack.infos():
        assert torch.equal(stack.read(name), llama["red"].read(name))
    assert stack.config == llama["red"].config


def test_each_layer_is_that_of_its_hop(llama: Mapping[str, Checkpoint]) -> None:
    stack = LayerStack(llama, LayerPath.of([("red", 2, 1.0), ("blue", 0, 1.0)]))
    name = "model.layers.{}.self_attn.q_proj.weight"
    assert torch.equal(stack.read(name.format(0)), llama["red"].read(name.format(2)))
    assert torch.equal(stack.read(name.format(1)), llama["blue"].read(name.format(0)))
    assert stack.own_name(name.format(0)) == name.format(2)
    assert name.format(2) not in stack.infos()


def test_the_ends_come_from_the_first_and_the_last_model(llama: Mapping[str, Checkpoint]) -> None:
    hops = (Hop("red", 0), Hop("blue", 1))
    stack = LayerStack(llama, LayerPath(hops))
    for name, model in (
        ("model.embed_tokens.weight", "red"),
        ("model.norm.weight", "blue"),
        ("lm_head.weight", "blue"),
    ):
        assert torch.equal(stack.read(name), llama[model].read(name))
    chosen = LayerStack(llama, LayerPath(hops, first="blue", last="red"))
    assert torch.equal(chosen.read("lm_head.weight"), llama["red"].read("lm_head.weight"))


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_stack_loads_in_transformers_and_its_layers_are_run_in_order(
    tmp_path: Path, architecture: str
) -> None:
    """A layer whose part is scaled by zero changes nothing: the model without it says the same."""
    models = _pair(tmp_path, architecture)
    short = _written(models, LayerPath.of([("red", 0, 1.0), ("blue", 2, 1.0)]), tmp_path / "short")
    path = LayerPath.of([("red", 0, 1.0), ("red", 1, 0.0), ("blue", 1, 0.0), ("blue", 2, 1.0)])
    long = _written(models, path, tmp_path / "long")
    assert long.config.num_hidden_layers == 4
    tokens = torch.arange(12)[None]
    with torch.inference_mode():
        torch.testing.assert_close(long(tokens).logits, short(tokens).logits)
        assert not torch.allclose(_loaded(models["red"].path)(tokens).logits, short(tokens).logits)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_layer_may_be_repeated(tmp_path: Path, architecture: str) -> None:
    models = _pair(tmp_path, architecture)
    path = LayerPath.of([("red", layer, 1.0) for layer in (0, 1, 0, 1, 2)])
    model = _written(models, path, tmp_path / "deep")
    first, *_, third = [dict(layer.named_parameters()) for layer in _layers(model)[:3]]
    assert all(torch.equal(first[name], third[name]) for name in first)


def test_lists_by_layer_in_the_config_follow_the_path(tmp_path: Path) -> None:
    models = _pair(tmp_path, "llama")
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    models["red"].config["layer_types"] = kinds  # type: ignore[index]
    models["blue"].config["layer_types"] = kinds[:2]  # type: ignore[index]
    stack = LayerStack(models, LayerPath.of([("red", 1, 1.0), ("red", 0, 1.0), ("blue", 1, 1.0)]))
    assert stack.config["layer_types"] == [kinds[1], kinds[0], kinds[1]]
    with pytest.raises(ModelError, match="model 'blue' has no entry for layer 2 in `layer_types`"):
        _ = LayerStack(models, LayerPath.of([("red", 1, 1.0), ("blue", 2, 1.0)])).config


def test_the_config_of_a_text_tower_is_changed_inside(tmp_path: Path) -> None:
    models = _pair(tmp_path, "llama")
    for model in models.values():
        text = dict(model.config)
        model.config.clear()  # type: ignore[attr-defined]
        model.config["text_config"] = text  # type: ignore[index]
    stack = LayerStack(models, LayerPath.of([("red", 1, 1.0)]))
    assert stack.config["text_config"]["num_hidden_layers"] == 1
    assert "num_hidden_layers" not in stack.config


def test_a_scale_multiplies_what_a_layer_adds_and_nothing_else(
    llama: Mapping[str, Checkpoint],
) -> None:
    stack = LayerStack(llama, LayerPath.of([("red", 0, 0.5)]))
    for name in stack.infos():
        factor = 0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
        assert torch.equal(stack.read(name), llama["red"].read(name) * factor)


def test_chosen_tensors_are_scaled_and_integers_are_not(llama: Mapping[str, Checkpoint]) -> None:
    scaled = ScaledTensors(llama["red"], {"model.norm.weight": 3.0})
    assert scaled.infos() == llama["red"].infos()
    norm = llama["red"].read("model.norm.weight")
    assert torch.equal(scaled.read("model.norm.weight"), (norm.float() * 3).to(norm.dtype))
    assert scaled.read("lm_head.weight") is llama["red"].read("lm_head.weight")


@pytest.mark.parametrize(
    ("hops", "message"),
    [
        ([], "the path has no layers"),
        ([("green", 0, 1.0)], "through model 'green', but only red, blue are open"),
        ([("red", 3, 1.0)], "takes layer 3 of 'red', which has layers 0 to 2"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    llama: Mapping[str, Checkpoint], hops: list[tuple[str, int, float]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LayerStack(llama, LayerPath.of(hops))


def test_models_of_different_shapes_are_not_stacked(tmp_path: Path) -> None:
    models = {
        "small": open_checkpoint(write_model(tmp_path / "small", seed=0)),
        "large": open_checkpoint(write_model(tmp_path / "large", seed=0, hidden=64)),
    }
    with pytest.raises(ModelError, match="'large' has hidden_size 64, expected 32 as in 'small'"):
        LayerStack(models, LayerPath.of([("small", 0, 1.0), ("large", 1, 1.0)]))


def test_an_encoder_with_a_decoder_has_no_single_stack() -> None:
    names = ["encoder.block.0.layer.0.weight", "decoder.block.0.layer.0.weight"]
    with pytest.raises(ModelError, match=r"has encoder.block and decoder.block, expected one"):
        count_layers(names)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.mlp.experts.3.w1.weight", 12),
        ("transformer.h.0.ln_1.weight", 0),
        ("backbone.layers.7.mixer.A_log", 7),
        ("lm_head.weight", None),
        ("model.vision_tower.layers.2.weight", None),
    ],
)
def test_the_layer_is_the_first_number_in_a_name(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer
    if layer is not None:
        assert with_layer(name, 99) == name.replace(str(layer), "99", 1)


@pytest.mark.parametrize(
    "name",
    "lm_head.weight embed_out.weight model.norm.weight transformer.ln_f.bias "
    "gpt_neox.final_layer_norm.weight model.final_layernorm.weight".split(),
)
def test_heads_and_final_norms_come_after_the_layers(name: str) -> None:
    assert comes_after(name)


@pytest.mark.parametrize(
    "name",
    "model.embed_tokens.weight transformer.wte.weight transformer.wpe.weight "
    "gpt_neox.embed_in.weight transformer.word_embeddings_layernorm.weight".split(),
)
def test_embeddings_and_their_norms_come_before(name: str) -> None:
    assert not comes_after(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.0.self_attn.o_proj.weight", True),
        ("transformer.h.0.mlp.c_proj.bias", True),
        ("gpt_neox.layers.0.attention.dense.weight", True),
        ("gpt_neox.layers.0.mlp.dense_4h_to_h.bias", True),
        ("model.layers.0.mlp.experts.down_proj", True),
        ("model.layers.0.block_sparse_moe.experts.1.w2.weight", True),
        ("model.layers.0.self_attn.q_proj.weight", False),
        ("gpt_neox.layers.0.mlp.dense_h_to_4h.weight", False),
    ],
)
def test_the_last_map_of_a_block_writes_to_the_residual(name: str, expected: bool) -> None:
    assert writes_to_residual(name) == expected


def _pair(folder: Path, architecture: str) -> dict[str, Checkpoint]:
    """Two models of three layers."""
    red = folder / "red"
    if architecture == "gpt2":
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=64)
        GPT2LMHeadModel(config).save_pretrained(red)
    else:
        write_model(red, seed=0, architecture=architecture, layers=3, dtype=torch.float32)
    blue = write_expert(folder / "blue", red, seed=1)
    return {"red": open_checkpoint(red), "blue": open_checkpoint(blue)}


def _written(models: Mapping[str, Checkpoint], path: LayerPath, out: Path) -> torch.nn.Module:
    stack = LayerStack(models, path)
    write_checkpoint(
        ((name, stack.read(name)) for name in stack.infos()),
        out,
        like=models[path.before],
        infos=stack.infos(),
        config_changes=stack.config_changes,
    )
    return _loaded(out)


def _loaded(folder: Path) -> torch.nn.Module:
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


def _layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
