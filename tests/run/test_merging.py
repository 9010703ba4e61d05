"""`evomerge merge`: a configuration of mergekit becomes a model folder.

Models of constants show which number a tensor was merged with. The numbers are those that mergekit
0.1.4 gives for the same files.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.cli import main
from evomerge.errors import ConfigError, UsageError
from evomerge.run.merging import merge_configuration
from tests.tiny import write_expert, write_model
from tests.tokenized import bpe, ids, with_tokens, write_tokenized

EXAMPLES = sorted((Path(__file__).parents[1] / "mergekit" / "examples").glob("*.yml"))
N_LAYERS = 4

torch.set_num_threads(1)

Merge = Callable[[str], dict[str, Tensor]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, `red`, `blue`, `green`, and `zero`, `one` and `two` whose weights are all that."""
    folder = tmp_path_factory.mktemp("models")
    base = write_model(folder / "base", seed=0, layers=N_LAYERS, dtype=torch.float32)
    for seed, name in enumerate(("red", "blue", "green"), start=1):
        write_expert(folder / name, base, seed=seed)
    for value, name in enumerate(("zero", "one", "two")):
        shutil.copytree(base, folder / name)
        weights = {k: torch.full_like(v, value) for k, v in _tensors(base).items()}
        save_file(weights, folder / name / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def merge(models: Path, tmp_path: Path) -> Merge:
    def merged(text: str) -> dict[str, Tensor]:
        merge_configuration(_file(models, text), tmp_path / "out")
        return _tensors(tmp_path / "out")

    return merged


def test_a_tied_model_counts_with_its_embedding_in_the_head_of_an_untied_one(
    merge: Merge, models: Path, tmp_path: Path
) -> None:
    write_model(models / "tied", seed=3, layers=N_LAYERS, tied=True, dtype=torch.float32)
    merged = merge(
        """
        merge_method: linear
        models:
          - {model: zero, parameters: {weight: 0.5}}
          - {model: tied, parameters: {weight: 0.5}}
        """
    )
    half = 0.5 * _tensors(models / "tied")["model.embed_tokens.weight"]
    assert torch.equal(merged["lm_head.weight"], half)
    assert torch.equal(merged["model.embed_tokens.weight"], half)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.lm_head.weight, half)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_becomes_a_model_that_loads(
    models: Path, tmp_path: Path, example: Path
) -> None:
    shutil.copy(example, models)
    merge_configuration(models / example.name, tmp_path / "out")
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "mergekit_config.yml").read_text() == example.read_text()
    assert "evomerge from a configuration" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_prints_every_problem_and_exits_with_2(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = _file(models, PROBE.format(weight="high") + "dtype: float8\n")
    monkeypatch.setattr("sys.argv", ["evomerge", "merge", str(path), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("2 problems:\n")
    assert "merge.yml:6:18: models[1].parameters.weight: found 'high'" in printed
    assert "merge.yml:8:1: dtype: found 'float8'" in printed


def test_the_command_merges(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = _file(models, PROBE.format(weight=0.5))
    monkeypatch.setattr("sys.argv", ["evomerge", "merge", str(path), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert "tensors merged by linear" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_folder_has_the_dtype_and_says_so(models: Path, tmp_path: Path) -> None:
    text = PROBE.format(weight=0.5) + "out_dtype: bfloat16\n"
    merge_configuration(_file(models, text), tmp_path / "out")
    assert {tensor.dtype for tensor in _tensors(tmp_path / "out").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_sums_are_taken_before_they_are_rounded_to_the_dtype(models: Path, tmp_path: Path) -> None:
    text = """\
merge_method: task_arithmetic
base_model: base
models:
  - {model: red, parameters: {weight: 0.3}}
dtype: bfloat16
"""
    merge_configuration(_file(models, text), tmp_path / "out")
    base, red = _tensors(models / "base"), _tensors(models / "red")
    for name, tensor in _tensors(tmp_path / "out").items():
        exact = base[name] + 0.3 * (red[name] - base[name])
        assert ((tensor.float() - exact).abs() <= exact.abs() * 2**-8).all()


PROBE = """\
merge_method: linear
models:
  - model: zero
    parameters: {{weight: 1}}
  - model: one
    parameters: {{weight: {weight}}}
parameters: {{normalize: false}}
"""


def test_a_gradient_runs_over_the_layers_and_the_ends_have_its_first_value(merge: Merge) -> None:
    tensors = merge(PROBE.format(weight=[0.2, 1.0, 0.3]))
    assert _by_layer(tensors, "mlp.up_proj") == pytest.approx([0.2, 0.7333, 0.7667, 0.3], abs=1e-4)
    assert _ends(tensors) == pytest.approx([0.2, 0.2, 0.2])


def test_filters_are_substrings_tried_in_order(merge: Merge) -> None:
    tensors = merge(
        PROBE.format(
            weight="[{filter: layers.1., value: 0.5}, {filter: norm, value: 0.7}, {value: 0.25}]"
        )
    )
    assert _by_layer(tensors, "self_attn.q_proj") == [0.25, 0.5, 0.25, 0.25]
    assert _by_layer(tensors, "input_layernorm") == pytest.approx([0.7, 0.5, 0.7, 0.7])
    assert _ends(tensors) == pytest.approx([0.25, 0.7, 0.25])


def test_the_innermost_level_with_a_value_decides(merge: Merge) -> None:
    tensors = merge("""\
merge_method: linear
slices:
  - sources:
      - {model: zero, layer_range: [0, 4], parameters: {weight: 1}}
      - {model: one, layer_range: [0, 4], parameters: {weight: [{filter: mlp, value: 0.5}]}}
    parameters: {weight: [{filter: attn, value: 0.75}]}
parameters: {normalize: false, weight: 0.125}
""")
    assert set(_by_layer(tensors, "mlp.up_proj")) == {0.5}
    assert set(_by_layer(tensors, "self_attn.q_proj")) == {0.75}
    assert set(_by_layer(tensors, "input_layernorm")) == {0.125}


def test_embeddings_are_of_the_first_slice_and_the_head_of_the_last(merge: Merge) -> None:
    tensors = merge("""\
merge_method: linear
slices:
  - sources:
      - {model: zero, layer_range: [0, 1], parameters: {weight: 1}}
      - {model: one, layer_range: [2, 3], parameters: {weight: [0.25, 0.875]}}
  - sources:
      - {model: zero, layer_range: [1, 4], parameters: {weight: 1}}
      - {model: one, layer_range: [0, 3], parameters: {weight: [0.375, 0.5, 1.0]}}
parameters: {normalize: false}
""")
    # A slice of one layer is at the end of its gradient, the tensors outside at the start.
    assert _by_layer(tensors, "mlp.up_proj") == [0.875, 0.375, 0.5, 1.0]
    assert _ends(tensors) == [0.25, 0.375, 0.375]


def test_a_models_own_filters_see_its_own_names_and_others_those_of_the_merge(
    merge: Merge,
) -> None:
    tensors = merge("""\
merge_method: linear
slices:
  - sources:
      - model: one
        layer_range: [2, 4]
        parameters: {weight: [{filter: layers.2., value: 0.5}, {value: 0.25}]}
      - {model: zero, layer_range: [1, 3], parameters: {weight: 1}}
parameters: {normalize: [{filter: layers.1., value: true}, {value: false}]}
""")
    assert _by_layer(tensors, "mlp.up_proj") == pytest.approx([0.5, 0.25 / 1.25])


def test_a_base_may_differ_from_slice_to_slice(merge: Merge) -> None:
    tensors = merge("""\
merge_method: task_arithmetic
base_model: zero
slices:
  - sources:
      - {model: two, layer_range: [0, 2], parameters: {weight: 0.5}}
      - {model: one, layer_range: [0, 2]}
    base_model: one
  - sources:
      - {model: zero, layer_range: [2, 4]}
      - {model: one, layer_range: [2, 4], parameters: {weight: 0.25}}
""")
    assert _by_layer(tensors, "mlp.up_proj") == [1.5, 1.5, 0.25, 0.25]


def test_a_frankenmerge_is_the_layers_one_on_top_of_the_other(models: Path, merge: Merge) -> None:
    tensors = merge((EXAMPLES[0].parent / "passthrough.yml").read_text())
    red, blue = _tensors(models / "red"), _tensors(models / "blue")
    name = "model.layers.{}.mlp.up_proj.weight"
    expected = [red[name.format(i)] for i in range(3)] + [blue[name.format(i)] for i in (1, 2, 3)]
    assert all(torch.equal(tensors[name.format(i)], e) for i, e in enumerate(expected))
    assert torch.equal(tensors["model.embed_tokens.weight"], red["model.embed_tokens.weight"])
    assert torch.equal(tensors["lm_head.weight"], blue["lm_head.weight"])


def test_a_scale_multiplies_the_tensors_that_its_filters_choose(merge: Merge) -> None:
    tensors = merge("""\
merge_method: passthrough
models:
  - {model: two, parameters: {scale: [{filter: mlp, value: [0, 1]}, {filter: q_proj, value: 0}]}}
""")
    assert _by_layer(tensors, "mlp.up_proj") == pytest.approx([0.0, 2 / 3, 4 / 3, 2.0])
    assert set(_by_layer(tensors, "self_attn.q_proj")) == {0.0}
    assert set(_by_layer(tensors, "self_attn.k_proj")) == {2.0}


def test_a_weight_of_zero_leaves_a_model_out(models: Path, merge: Merge) -> None:
    tensors = merge("""\
merge_method: ties
base_model: base
models:
  - {model: red, parameters: {weight: 0.7}}
  - {model: blue, parameters: {weight: 0}}
""")
    for name, red in _tensors(models / "red").items():
        torch.testing.assert_close(tensors[name], red)  # normalised: the size of a weight is lost


def test_normalised_task_arithmetic_divides_by_the_sum_of_weights(merge: Merge) -> None:
    tensors = merge("""\
merge_method: task_arithmetic
base_model: zero
models:
  - {model: zero, parameters: {weight: 5}}
  - {model: one, parameters: {weight: 0.5}}
  - {model: two}
parameters: {weight: 0.25, normalize: true}
""")
    assert _ends(tensors) == pytest.approx([4 / 3] * 3)


def test_random_masks_follow_the_seed(models: Path, tmp_path: Path) -> None:
    path = EXAMPLES[0].parent / "dare_ties.yml"
    shutil.copy(path, models)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        merge_configuration(models / path.name, tmp_path / name, seed=seed)
    a, b, c = (_tensors(tmp_path / name)["lm_head.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_weights_that_sum_to_zero_are_refused(merge: Merge) -> None:
    message = r"tensor '.*': the weights 1, -1 sum to zero, expected another sum"
    with pytest.raises(UsageError, match=message):
        merge(PROBE.format(weight=-1).replace("false", "true"))


def test_a_filter_that_leaves_a_tensor_without_a_value_is_refused(merge: Merge) -> None:
    with pytest.raises(UsageError, match=r"no filter of `weight` fits '.*' and it has no default"):
        merge(PROBE.format(weight="[{filter: mlp, value: 1}]"))


def test_all_models_that_are_not_there_are_told_with_their_lines(models: Path) -> None:
    text = PROBE.format(weight=1).replace("model: zero", "model: zer").replace("one", "OWNER/one")
    with pytest.raises(ConfigError) as error:
        merge_configuration(_file(models, text), models / "out")
    first, second = error.value.problems
    assert first.where.endswith("merge.yml:3:5")
    assert "did you mean 'zero' beside it" in first.message
    assert "hf download OWNER/NAME" in second.message


def test_layers_that_a_model_does_not_have_are_refused(models: Path) -> None:
    text = "merge_method: passthrough\nslices:\n  - sources: [{model: red, layer_range: [2, 5]}]\n"
    with pytest.raises(ConfigError, match=r"layer_range: found \[2, 5\], expected an end of at "):
        merge_configuration(_file(models, text), models / "out")


def test_models_that_do_not_fit_are_told_as_preflight_does(models: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "large", seed=0, layers=N_LAYERS, hidden=64)
    text = PROBE.format(weight=1).replace("model: one", f"model: {tmp_path / 'large'}")
    with pytest.raises(ConfigError, match="hidden_size is 64, expected 32 as in the base"):
        merge_configuration(_file(models, text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


TOKENIZED = """\
merge_method: linear
base_model: short
models:
  - {{model: short, parameters: {{weight: 1}}}}
  - {{model: long, parameters: {{weight: 3}}}}
{tokenizer}
"""


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`short` with 5 rows of padding, and `long` whose tokenizer has two tokens more."""
    folder = tmp_path_factory.mktemp("tokenized")
    tokenizer = bpe()
    write_tokenized(folder / "short", tokenizer, seed=0, n_rows=len(ids(tokenizer)) + 5)
    write_tokenized(folder / "long", with_tokens(tokenizer, ["<a>", "<b>"]), seed=1)
    return folder


@pytest.mark.parametrize(
    ("source", "n_more"), [("base", 0), ("short", 0), ("long", 2), ("union", 2)]
)
def test_the_tables_have_a_row_for_each_token_of_the_tokenizer(
    tokenized: Path, tmp_path: Path, source: str, n_more: int
) -> None:
    text = TOKENIZED.format(tokenizer=f"tokenizer_source: {source}")
    merge_configuration(_file(tokenized, text), tmp_path / "out")
    n_tokens = len(ids(bpe())) + n_more
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    merged = _tensors(tmp_path / "out")["model.embed_tokens.weight"]
    short, long = (
        _tensors(tokenized / name)["model.embed_tokens.weight"] for name in ("short", "long")
    )
    assert len(tokenizer) == len(merged) == n_tokens
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == n_tokens
    both = n_tokens - n_more
    torch.testing.assert_close(merged[:both], 0.25 * short[:both] + 0.75 * long[:both])
    torch.testing.assert_close(merged[both:], long[both:n_tokens])  # the sole owner's


def test_tables_may_be_padded(tokenized: Path, tmp_path: Path) -> None:
    text = TOKENIZED.format(tokenizer="tokenizer: {source: union, pad_to_multiple_of: 64}")
    merge_configuration(_file(tokenized, text), tmp_path / "out")
    assert len(_tensors(tmp_path / "out")["lm_head.weight"]) % 64 == 0


def test_different_tables_need_a_word_about_the_tokenizer(tokenized: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"yml:5:6: .*rows in its vocabulary tables, expected"):
        merge_configuration(_file(tokenized, TOKENIZED.format(tokenizer="")), tmp_path / "out")


def test_a_tokenizer_of_no_model_is_refused(tokenized: Path, tmp_path: Path) -> None:
    text = TOKENIZED.format(tokenizer="tokenizer_source: lang")
    with pytest.raises(ConfigError, match=r"yml:6:1: .*found 'lang'.*did you mean `long`"):
        merge_configuration(_file(tokenized, text), tmp_path / "out")


def test_rows_that_models_lack_are_filled_from_a_base_that_must_be_named(
    tokenized: Path, tmp_path: Path
) -> None:
    write_tokenized(tokenized / "third", with_tokens(bpe(), ["<c>"]), seed=2)
    listed = TOKENIZED.replace(
        "{tokenizer}", "  - {{model: third, parameters: {{weight: 2}}}}\ntokenizer_source: union"
    ).format()
    path = _file(tokenized, listed.replace("base_model: short\n", ""))
    with pytest.raises(ConfigError, match=r"yml:6:1: .*tokens differ and there is no base; exp"):
        merge_configuration(path, tmp_path / "out")
    merge_configuration(_file(tokenized, listed), tmp_path / "out")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == len(ids(bpe())) + 3


@pytest.mark.parametrize(("wanted", "template"), [("auto", "{{ b }}"), ('"{{ x }}"', "{{ x }}")])
def test_the_chat_template_is_that_of_most_models_or_the_one_given(
    models: Path, tmp_path: Path, wanted: str, template: str
) -> None:
    folders = [shutil.copytree(models / "red", tmp_path / name) for name in ("a", "b", "c")]
    for folder, text in zip(folders, ("{{ a }}", "{{ b }}", "{{ b }}"), strict=True):
        (folder / "chat_template.jinja").write_text(text)
    listed = "\n".join(f"  - {{model: {name}, parameters: {{weight: 1}}}}" for name in "abc")
    text = f"merge_method: linear\nmodels:\n{listed}\nchat_template: {wanted}\n"
    merge_configuration(_file(tmp_path, text), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == template


def test_an_adapter_is_merged_on_top_of_its_model(models: Path, merge: Merge) -> None:
    path = models / "lora"
    model = AutoModelForCausalLM.from_pretrained(models / "base")
    torch.manual_seed(0)
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(path)
    expected = adapted.merge_and_unload().state_dict()
    tensors = merge("merge_method: passthrough\nmodels:\n  - model: base+lora\n")
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, expected[name])


def _file(models: Path, text: str) -> Path:
    path = models / "merge.yml"
    path.write_text(text)
    return path


def _tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def _by_layer(tensors: Mapping[str, Tensor], module: str) -> list[float]:
    names = [f"model.layers.{layer}.{module}.weight" for layer in range(len(tensors))]
    return [tensors[name].flatten()[0].item() for name in names if name in tensors]


def _ends(tensors: Mapping[str, Tensor]) -> list[float]:
    names = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    return [tensors[name].flatten()[0].item() for name in names]


def test_a_damaged_model_is_told_with_its_line_before_any_work(
    models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "red", models / "damaged")
    weights = _tensors(models / "red")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, models / "damaged" / "model.safetensors", metadata={"format": "pt"})
    file = _file(models, "merge_method: passthrough\nmodels:\n- model: damaged\n")
    with pytest.raises(ConfigError, match=r"yml:3:\d+.*'model\.norm\.weight' .* 1 of 32 entries"):
        merge_configuration(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
