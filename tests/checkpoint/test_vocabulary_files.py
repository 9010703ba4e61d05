"""A merge of models with different tokenizers, written: it loads, and its ids are its rows."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.vocabulary_alignment import align
from evomerge.checkpoint.vocabulary_files import config_changes, write_aligned
from evomerge.errors import ModelError
from tests.tokenized import CODE, ENGLISH, bpe, ids, with_tokens, word_level, write_tokenized


@pytest.fixture
def written(tmp_path):
    """Writes the base as it is seen in the vocabulary of an alignment; the folder."""

    def write(mine, theirs, tokenizer, **options):
        base = write_tokenized(tmp_path / "base", mine)
        expert = write_tokenized(tmp_path / "code", theirs, seed=1, **options)
        alignment = align(base, {"code": expert}, tokenizer=tokenizer)
        out = tmp_path / "out"
        tensors = ((name, alignment.base.read(name)) for name in alignment.base.infos())
        write_aligned(tensors, out, base=base, alignment=alignment)
        return out, alignment

    return write


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (bpe(), with_tokens(bpe(CODE), ["<|im_start|>"])),
        (with_tokens(bpe(), ["<pad>"]), bpe(CODE)),
        (word_level(), word_level(CODE)),
        (bpe(), word_level(CODE)),
    ],
    ids=["bpe", "added before new", "words", "mixed"],
)
def test_a_union_loads_and_gives_every_token_its_row(written, mine, theirs):
    out, alignment = written(mine, theirs, "union")
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.get_vocab() == ids(mine) | tokenizer.get_vocab()
    assert tokenizer.get_vocab() == alignment.vocabulary.ids
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer) == len(model.get_input_embeddings().weight)
    assert model.config.eos_token_id == tokenizer.eos_token_id == ids(mine)["<eos>"]


def test_a_union_of_bpe_merges_first_as_the_base_and_then_further(written):
    mine, theirs = bpe(), with_tokens(bpe(CODE), ["<|im_start|>"])
    out, _ = written(mine, theirs, "union")
    union = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert union.encode(ENGLISH).ids == mine.encode(ENGLISH).ids
    coarse, fine = union.encode(CODE), mine.encode(CODE)
    assert len(coarse.ids) < len(fine.ids)
    ends = {end for _, end in fine.offsets}
    assert {end for _, end in coarse.offsets} <= ends
    assert union.decode(coarse.ids) == CODE
    assert union.encode("<|im_start|>cat").tokens == ["<|im_start|>", "cat"]


def test_a_base_extended_in_a_union_tokenises_as_before(written):
    mine, theirs = bpe(), with_tokens(bpe(), ["<|im_start|>"])
    out, _ = written(mine, theirs, "union")
    union = Tokenizer.from_file(str(out / "tokenizer.json"))
    for text in (ENGLISH, CODE, "ÜŇ 12"):
        assert union.encode(text).ids == mine.encode(text).ids


def test_an_experts_tokenizer_comes_with_its_template_and_special_tokens(written):
    end = "<|im_end|>"
    theirs = with_tokens(bpe(CODE, special=[]), [end])
    out, _ = written(bpe(), theirs, "code", eos=end)
    assert (out / "chat_template.jinja").read_text().startswith("code: ")
    assert AutoTokenizer.from_pretrained(out).eos_token == end
    config, generation = (
        json.loads((out / name).read_text()) for name in ("config.json", "generation_config.json")
    )
    assert config["vocab_size"] == len(ids(theirs))
    assert config["eos_token_id"] == generation["eos_token_id"] == ids(theirs)[end]
    assert generation["temperature"] == 0.5


@pytest.mark.parametrize("tokenizer", ["base", "union"])
def test_the_bases_template_stays_with_its_tokenizer(written, tokenizer):
    out, _ = written(bpe(), bpe(CODE), tokenizer)
    assert (out / "chat_template.jinja").read_text().startswith("base: ")
    if tokenizer == "base":
        for name in ("config.json", "tokenizer.json", "generation_config.json"):
            assert (out / name).read_bytes() == (out.parent / "base" / name).read_bytes()


def test_a_union_leaves_no_tokenizer_file_that_contradicts_it(written, tmp_path):
    base = write_tokenized(tmp_path / "old", bpe())
    (tmp_path / "old/merges.txt").write_text("#version: 0.2\n")
    expert = write_tokenized(tmp_path / "new", bpe(CODE), seed=1)
    alignment = align(base, {"new": expert}, tokenizer="union")
    tensors = {name: alignment.base.read(name) for name in alignment.base.infos()}
    write_aligned(tensors, tmp_path / "out", base=base, alignment=alignment)
    assert not (tmp_path / "out/merges.txt").exists()
    out = open_checkpoint(tmp_path / "out")
    assert torch.equal(out.read("lm_head.weight"), alignment.base.read("lm_head.weight"))


def test_a_unigram_tokenizer_cannot_be_extended(tmp_path):
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, byte_fallback=False))
    base = write_tokenized(tmp_path / "base", unigram, eos="<unk>")
    expert = write_tokenized(tmp_path / "expert", word_level(), seed=1)
    alignment = align(base, {"words": expert}, tokenizer="union")
    tensors = {name: alignment.base.read(name) for name in alignment.base.infos()}
    with pytest.raises(ModelError, match="no union in which every token has its row"):
        write_aligned(tensors, tmp_path / "out", base=base, alignment=alignment)
    assert not (tmp_path / "out").exists()


def test_the_text_part_of_a_config_gets_the_vocabulary_too(tmp_path):
    model = write_tokenized(tmp_path / "base", bpe())
    model.config = {"model_type": "x", "text_config": {"vocab_size": 5, "eos_token_id": 2, "d": 1}}
    owner = write_tokenized(tmp_path / "owner", word_level())
    assert config_changes(model, owner, 7)["text_config"] == {
        "vocab_size": 7,
        "eos_token_id": ids(word_level())["<eos>"],
        "d": 1,
    }
