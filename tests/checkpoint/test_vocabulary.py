"""Which token each row of a model belongs to, and which tensors have such rows."""

import json

import pytest
import torch

from evomerge.checkpoint.vocabulary import Vocabulary, read_vocabulary, union
from evomerge.checkpoint.vocabulary_tables import vocabulary_tables
from evomerge.errors import ModelError
from evomerge.records import TensorInfo
from tests.tokenized import bpe, ids, word_level


@pytest.mark.parametrize("tokenizer", [bpe(), word_level()], ids=["bpe", "word_level"])
def test_a_vocabulary_has_the_ids_of_the_tokenizer_itself(tmp_path, tokenizer):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary.ids == ids(tokenizer)
    assert "<eos>" in vocabulary.special
    assert vocabulary.tokens[vocabulary.ids["<eos>"]] == "<eos>"


def test_unigram_tokens_are_numbered_by_their_place(tmp_path):
    data = {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0]]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert read_vocabulary(tmp_path).ids == {"<unk>": 0, "a": 1}


def test_a_folder_without_tokenizer_has_no_vocabulary(tmp_path):
    assert read_vocabulary(tmp_path) is None


@pytest.mark.parametrize("text", ["{}", '{"model": {"vocab": 3}}', '{"model": {"vocab": [1]}}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"tokenizer\.json does not say which id each token has"):
        read_vocabulary(tmp_path)


def test_tokens_beyond_the_rows_of_a_table_are_left_out():
    vocabulary = Vocabulary({"a": 0, "b": 1, "<x>": 5}, frozenset({"<x>"}))
    assert vocabulary.n_ids == 6
    assert vocabulary.within(5) == Vocabulary({"a": 0, "b": 1})
    assert vocabulary.within(6) is vocabulary


def test_a_union_keeps_the_first_ids_and_numbers_what_is_new_after_them():
    first, second = Vocabulary({"a": 0, "c": 3}), Vocabulary({"b": 0, "a": 1, "<e>": 2})
    assert union([first, second]).ids == {"a": 0, "c": 3, "b": 4, "<e>": 5}
    assert union([first, first]) == first


def infos(**shapes):
    names = {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {name: TensorInfo(name, shape, torch.float32) for name, shape in names.items()}


def test_embeddings_heads_and_their_biases_are_vocabulary_tables():
    found = vocabulary_tables(
        infos(
            model__embed_tokens__weight=(50, 8),
            model__embed_tokens_per_layer__weight=(50, 16),
            model__layers__0__mlp__up_proj__weight=(50, 8),
            model__norm__weight=(8,),
            lm_head__weight=(50, 8),
            lm_head__bias=(50,),
        ),
        {"vocab_size": 50},
    )
    tables = ("model.embed_tokens.weight", "model.embed_tokens_per_layer.weight")
    assert found == ((*tables, "lm_head.weight", "lm_head.bias"), 50)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("transformer.wte.weight", {"vocab_size": 50}),
        ("gpt_neox.embed_in.weight", {"vocab_size": 50}),
        ("shared.weight", {"vocab_size": 50}),
        ("backbone.embeddings.weight", {"vocab_size": 50}),
        ("language_model.model.embed_tokens.weight", {"text_config": {"vocab_size": 50}}),
        ("model.embed_tokens.weight", {}),  # some configurations leave out what is the default
    ],
)
def test_tables_are_found_in_many_architectures(name, config):
    other = {"transformer.wpe.weight": (50, 8), "vision.embeddings.weight": (50, 8)}
    assert vocabulary_tables(infos(**{**other, name: (50, 8)}), config) == ((name,), 50)


def test_a_model_without_tables_has_no_rows():
    assert vocabulary_tables(infos(model__norm__weight=(8,)), {}) == ((), 0)
