"""Statistics of text against their definitions, on tiny real models."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from evomerge.errors import UsageError
from evomerge.merge.groups import is_matrix
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.statistics import collect_activations, collect_fisher, collect_grams
from evomerge.scoring.texts import read_sequences
from tests.tiny import write_model, write_tokenizer

torch.set_num_threads(1)

QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("statistics") / "llama", seed=0)
    return ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics") / "gpt2"
    tokenizer = write_tokenizer(folder)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, n_inner=48
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return ResidentModel.from_folder(folder, dtype=torch.float32)


@pytest.fixture
def sequences(model):
    generator = torch.Generator().manual_seed(1)
    return list(torch.randint(3, len(model.tokenizer), (6, 9), generator=generator))


def normed_embeddings(model, sequences):
    """What the first layer's attention reads, `(n_tokens, d)` float64."""
    layer = model.model.model.layers[0]
    with torch.no_grad():
        inputs = layer.input_layernorm(model.model.model.embed_tokens(torch.cat(sequences)))
    return inputs.reshape(-1, inputs.shape[-1]).double()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_gram_is_the_mean_of_the_outer_products_of_the_inputs(model, sequences, batch_size):
    grams = collect_grams(model, sequences, batch_size=batch_size)
    inputs = normed_embeddings(model, sequences)
    expected = (inputs.T @ inputs / len(inputs)).float()
    assert torch.allclose(grams[QUERY], expected, rtol=1e-5, atol=1e-5)
    assert grams[QUERY].dtype == torch.float32


def test_every_matrix_of_a_layer_has_a_gram_and_nothing_else_has(model, sequences):
    grams = collect_grams(model, sequences)
    matrices = {name: x for name, x in model.tensors.items() if is_matrix(name, x.shape)}
    assert grams.keys() == matrices.keys()
    assert all(grams[name].shape == (x.shape[1],) * 2 for name, x in matrices.items())


def test_a_transposed_weight_has_the_gram_of_its_rows(gpt2, sequences):
    grams = collect_grams(gpt2, sequences)
    shapes = {name.removeprefix("transformer.h.1."): tuple(x.shape) for name, x in grams.items()}
    assert shapes["mlp.c_fc.weight:rows"] == (32, 32)
    assert shapes["mlp.c_proj.weight:rows"] == (48, 48)
    assert len(grams) == 8


def test_activations_are_mean_magnitudes_of_what_maps_and_norms_read(model, sequences):
    activations = collect_activations(model, sequences, batch_size=4)
    expected = normed_embeddings(model, sequences).abs().mean(0).float()
    assert torch.allclose(activations[QUERY], expected, rtol=1e-5)
    embedded = model.model.model.embed_tokens(torch.cat(sequences))
    assert torch.allclose(activations[NORM], embedded.abs().mean(0), rtol=1e-5)
    assert activations["lm_head.weight"].shape == (32,)
    assert activations.keys() == model.tensors.keys() - {"model.embed_tokens.weight"}


def test_a_head_that_is_the_embedding_has_no_activations(tmp_path, sequences):
    folder = write_model(tmp_path / "tied", seed=0, tied=True)
    tied = ResidentModel.from_folder(folder, dtype=torch.float32)
    assert not any("emb" in name or "head" in name for name in collect_activations(tied, sequences))


def test_fisher_information_is_the_mean_square_of_the_gradients(model, sequences):
    fisher = collect_fisher(model, sequences)
    squares = []
    for sequence in sequences:
        # For the head, ∇ log p = Σ (1_y − p) hᵀ / n.
        with torch.no_grad():
            out = model.model(sequence[None], output_hidden_states=True)
        hidden, wrong = out.hidden_states[-1][0, :-1], out.logits[0, :-1].softmax(-1)
        wrong[torch.arange(len(wrong)), sequence[1:]] -= 1.0
        squares.append((wrong.T @ hidden / len(wrong)).square())
    expected = torch.stack(squares).mean(0)
    assert torch.allclose(fisher["lm_head.weight"], expected, rtol=1e-3, atol=1e-9)
    assert fisher.keys() == model.tensors.keys()


def test_an_embedding_that_is_also_the_head_has_one_information(tmp_path, sequences):
    folder = write_model(tmp_path / "tied", seed=0, tied=True)
    tied = ResidentModel.from_folder(folder, dtype=torch.float32)
    fisher = collect_fisher(tied, sequences)
    assert fisher["model.embed_tokens.weight"].min() > 0.0  # every token is one that is not said


def test_sampled_labels_are_drawn_by_the_seed(model, sequences):
    def head(seed):
        return collect_fisher(model, sequences, labels="sampled", seed=seed)["lm_head.weight"]

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))
    assert not torch.equal(head(0), collect_fisher(model, sequences)["lm_head.weight"])


def test_collecting_leaves_the_model_as_it_was(model, sequences):
    before = {name: tensor.clone() for name, tensor in model.tensors.items()}
    for collect in (collect_grams, collect_activations, collect_fisher):
        collect(model, sequences)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.tensors.items())
    assert not any(weight.requires_grad for weight in model.model.parameters())
    assert all(weight.grad is None for weight in model.model.parameters())
    assert not any(module._forward_pre_hooks for module in model.model.modules())


def test_sequences_longer_than_the_model_are_refused(gpt2):
    for collect in (collect_grams, collect_activations, collect_fisher):
        with pytest.raises(UsageError, match=r"65 tokens .* 64 positions; lower .*sequence_length"):
            collect(gpt2, [torch.full((65,), 5)])


def test_sequences_of_any_length_count_by_their_tokens(model, sequences):
    uneven = [sequence[: 3 + place] for place, sequence in enumerate(sequences)]
    gram = collect_grams(model, uneven, batch_size=4)[QUERY]
    inputs = normed_embeddings(model, uneven)
    assert torch.allclose(gram, (inputs.T @ inputs / len(inputs)).float(), rtol=1e-5, atol=1e-5)


def test_a_plain_text_is_cut_into_sequences(tmp_path, model):
    text = tmp_path / "text.txt"
    text.write_text("bade figo kula\nmeno piru sato\n" * 20)
    whole = model.tokenizer(text.read_text())["input_ids"]
    cut = read_sequences(text, model.tokenizer, n_sequences=3, length=8)
    assert torch.cat(cut).tolist() == whole[:24]
    rest = read_sequences(text, model.tokenizer, n_sequences=10_000, length=len(whole) - 1)
    assert [sequence.tolist() for sequence in rest] == [whole[:-1]]  # not a sequence of one token


def test_each_document_of_jsonl_has_sequences_of_its_own(tmp_path, model):
    text = tmp_path / "text.jsonl"
    documents = ("bade", "figo\u2028 kula meno piru sato")
    lines = (json.dumps({"text": x, "level": 1}, ensure_ascii=False) for x in documents)
    text.write_text("".join(line + "\n\n" for line in lines), encoding="utf-8")
    end = model.tokenizer.eos_token_id
    one, other = ([*model.tokenizer(x)["input_ids"], end] for x in documents)
    found = read_sequences(text, model.tokenizer, n_sequences=3, length=4)
    assert [sequence.tolist() for sequence in found] == [one, other[:4], other[4:8]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "bade"}\n{"prompt": "x"}\n', r"a\.jsonl:2 has no text, expected"),
        ("a.jsonl", b"[]\n", r"a\.jsonl:1 has no text"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: .*expected a JSON object a line"),
        ("a.jsonl", b"bade figo\n", r"a\.jsonl:1: .*expected a JSON object a line"),
        ("a.txt", b"\xff\xfe\xff", r"cannot read .*a\.txt: .*expected a text in UTF-8"),
        ("a.txt", b"", r"a\.txt has fewer than two tokens, expected a text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, model, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_sequences(tmp_path / name, model.tokenizer, n_sequences=9, length=8)
