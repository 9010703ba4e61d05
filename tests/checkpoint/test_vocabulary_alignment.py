"""Models with different tokenizers merge by token string: every row belongs to one token."""

import json

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from evomerge.checkpoint.adapter import open_model
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.vocabulary_alignment import align, disagreement
from evomerge.errors import ModelError, UsageError
from evomerge.records import LowRankSource
from tests.tokenized import CODE, bpe, ids, with_tokens, word_level, write_tokenized

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TABLES = (EMBEDDING, HEAD)


def rows_of(model, vocabulary, name):
    """token → its row."""
    table = model.read(name)
    return {token: table[i] for token, i in vocabulary.items()}


def assert_rows_equal(found, expected, tokens):
    assert tokens
    for token in tokens:
        assert torch.equal(found[token], expected[token]), token


def test_models_of_one_vocabulary_are_left_as_they_are(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", bpe(), seed=1)
    for tokenizer in (None, "base", "union", "math"):
        alignment = align(base, {"math": expert}, tokenizer=tokenizer)
        assert alignment.base is base
        assert alignment.experts["math"] is expert


def test_padded_rows_of_an_expert_are_left_out_without_a_copy(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe(), n_rows=310)
    expert = write_tokenized(tmp_path / "expert", bpe(), seed=1, n_rows=320)
    aligned = align(base, {"math": expert}).experts["math"]
    for name in TABLES:
        assert aligned.infos()[name].shape == (310, 8)
        assert torch.equal(aligned.read(name), expert.read(name)[:310])
        assert aligned.read(name).data_ptr() == expert.read(name).data_ptr()
    assert compare(base, {"math": aligned}) == []


def test_padded_rows_of_the_base_alone_stay_the_bases(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe(), n_rows=320)
    expert = write_tokenized(tmp_path / "expert", bpe(), seed=1)
    n = len(ids(bpe()))
    aligned = align(base, {"math": expert}).experts["math"]
    for name in TABLES:
        assert torch.equal(aligned.read(name)[:n], expert.read(name))
        assert torch.equal(aligned.read(name)[n:], base.read(name)[n:])


def test_an_expert_that_extends_the_base_loses_its_own_tokens(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    extended = with_tokens(bpe(), ["<|im_start|>", "<|im_end|>"])
    expert = write_tokenized(tmp_path / "expert", extended, seed=1)
    alignment = align(base, {"chat": expert})
    n = len(ids(bpe()))
    assert torch.equal(alignment.experts["chat"].read(EMBEDDING), expert.read(EMBEDDING)[:n])


def test_a_base_that_extends_the_expert_keeps_its_own_tokens(tmp_path):
    base = write_tokenized(tmp_path / "base", with_tokens(bpe(), ["<|im_start|>"]))
    expert = write_tokenized(tmp_path / "expert", bpe(), seed=1)
    aligned = align(base, {"math": expert}).experts["math"].read(HEAD)
    assert torch.equal(aligned[:-1], expert.read(HEAD))
    assert torch.equal(aligned[-1], base.read(HEAD)[-1])


def test_different_tokenizers_have_to_be_asked_for(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", bpe(CODE), seed=1)
    assert disagreement(base, base) is None
    with pytest.raises(ModelError, match=r"expert 'code' .* differs .* `merge.tokenizer: base`"):
        align(base, {"code": expert})


def test_one_token_in_another_place_is_a_different_tokenizer(tmp_path):
    base = write_tokenized(tmp_path / "base", with_tokens(bpe(), ["<pad>"]))
    expert = write_tokenized(tmp_path / "expert", with_tokens(bpe(), ["<|im_start|>"]), seed=1)
    message = disagreement(base, expert)
    place = len(ids(bpe()))
    assert f"in 1 tokens: id {place} is '<|im_start|>', in the base '<pad>'" in message


@pytest.mark.parametrize("theirs", [bpe(CODE, vocab=290), word_level(CODE)], ids=["bpe", "words"])
def test_the_bases_tokens_take_the_rows_of_the_same_strings(tmp_path, theirs):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", theirs, seed=1)
    alignment = align(base, {"code": expert}, tokenizer="base")
    assert alignment.base is base
    both = ids(bpe()).keys() & ids(theirs).keys()
    for name in TABLES:
        found = rows_of(alignment.experts["code"], ids(bpe()), name)
        assert_rows_equal(found, rows_of(expert, ids(theirs), name), both)
        assert_rows_equal(found, rows_of(base, ids(bpe()), name), ids(bpe()).keys() - both)
    assert compare(base, alignment.experts) == []


def test_an_experts_tokenizer_may_be_the_target(tmp_path):
    theirs = bpe(CODE, vocab=290)
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", theirs, seed=1)
    alignment = align(base, {"code": expert}, tokenizer="code")
    assert alignment.experts["code"] is expert
    assert alignment.owner is expert
    both = ids(bpe()).keys() & ids(theirs).keys()
    found = rows_of(alignment.base, ids(theirs), HEAD)
    assert_rows_equal(found, rows_of(base, ids(bpe()), HEAD), both)
    assert_rows_equal(found, rows_of(expert, ids(theirs), HEAD), ids(theirs).keys() - both)


def test_a_union_has_every_token_and_the_bases_ids(tmp_path):
    theirs = bpe(CODE, vocab=290)
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", theirs, seed=1)
    alignment = align(base, {"code": expert}, tokenizer="union")
    everything = alignment.vocabulary.ids
    assert everything.keys() == ids(bpe()).keys() | ids(theirs).keys()
    assert ids(bpe()).items() <= everything.items()
    assert alignment.n_rows == len(everything)
    found = rows_of(alignment.base, everything, EMBEDDING)
    assert_rows_equal(found, rows_of(base, ids(bpe()), EMBEDDING), ids(bpe()).keys())
    new = ids(theirs).keys() - ids(bpe()).keys()
    assert_rows_equal(found, rows_of(expert, ids(theirs), EMBEDDING), new)
    found = rows_of(alignment.experts["code"], everything, EMBEDDING)
    assert_rows_equal(found, rows_of(expert, ids(theirs), EMBEDDING), ids(theirs).keys())


def test_a_token_of_several_experts_is_their_mean_to_who_lacks_it(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    plain = write_tokenized(tmp_path / "plain", bpe(), seed=1)
    chat = with_tokens(bpe(), ["<chat>"])
    first, second = (write_tokenized(tmp_path / f"chat{i}", chat, seed=i) for i in (2, 3))
    experts = {"plain": plain, "first": first, "second": second}
    alignment = align(base, experts, tokenizer="union")
    mean = (first.read(HEAD)[-1] + second.read(HEAD)[-1]) / 2
    assert torch.equal(alignment.base.read(HEAD)[-1], mean)
    assert torch.equal(alignment.experts["plain"].read(HEAD)[-1], mean)
    assert torch.equal(alignment.experts["first"].read(HEAD)[-1], first.read(HEAD)[-1])


def test_padding_can_be_left_out_and_put_in(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe(), n_rows=320)
    expert = write_tokenized(tmp_path / "expert", bpe(), seed=1, n_rows=330)
    n = len(ids(bpe()))
    trimmed = align(base, {"math": expert}, tokenizer="base", trim=True)
    for model, source in ((trimmed.base, base), (trimmed.experts["math"], expert)):
        assert torch.equal(model.read(HEAD), source.read(HEAD)[:n])
    padded = align(base, {"math": expert}, trim=True, pad_to_multiple_of=64)
    assert padded.n_rows == 320


def test_rows_that_nobody_has_are_never_the_likeliest(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    padded = align(base, {}, pad_to_multiple_of=64).base.read(HEAD)
    assert padded.shape == (320, 8)
    logits = padded @ torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    assert logits.argmax(0).max() < len(ids(bpe()))


def test_rows_keep_the_dtype_of_their_model(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe(), dtype=torch.bfloat16)
    expert = write_tokenized(tmp_path / "expert", bpe(CODE), seed=1)
    aligned = align(base, {"code": expert}, tokenizer="union")
    assert aligned.base.read(HEAD).dtype == torch.bfloat16
    assert aligned.experts["code"].read(HEAD).dtype == torch.float32


def test_an_expert_without_tokenizer_is_taken_to_have_the_bases(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", None, seed=1, n_rows=len(ids(bpe())))
    assert align(base, {"bare": expert}).experts["bare"] is expert
    assert align(base, {"bare": expert}, tokenizer="union").experts["bare"] is expert


def test_an_expert_without_tokenizer_and_with_other_rows_cannot_be_aligned(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", None, seed=1, n_rows=400)
    unaligned = align(base, {"bare": expert}).experts
    assert unaligned["bare"] is expert
    n = len(ids(bpe()))
    assert f"the vocabularies have 400 and {n} tokens" in compare(base, unaligned)[0].message
    with pytest.raises(ModelError, match=r"expert has no tokenizer\.json, .* its 400 rows"):
        align(base, {"bare": expert}, tokenizer="base")


def test_a_tokenizer_that_nobody_has_is_refused(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    with pytest.raises(UsageError, match=r"`math`, expected `base`, `union` or the name .*code"):
        align(base, {"code": base}, tokenizer="math")


def test_an_adapter_stays_low_rank_but_for_its_tables(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    other = write_tokenized(tmp_path / "other", bpe(CODE), seed=1)
    query = "model.layers.0.self_attn.q_proj"
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora/adapter_config.json").write_text(json.dumps(config))
    prefix = f"base_model.model.{query}"
    factors = {
        f"{prefix}.lora_A.weight": torch.ones(2, 8),
        f"{prefix}.lora_B.weight": torch.ones(8, 2),
    }
    save_file(factors, tmp_path / "lora/adapter_model.safetensors")
    experts = {"lora": open_model(tmp_path / "lora", base), "other": other}
    assert align(base, {"lora": experts["lora"]}).experts["lora"] is experts["lora"]
    aligned = align(base, experts, tokenizer="union").experts["lora"]
    assert isinstance(aligned, LowRankSource)
    assert torch.equal(aligned.factors(f"{query}.weight")[0], torch.ones(8, 2))
    assert aligned.factors(HEAD) is None
    assert not isinstance(align(base, experts, tokenizer="union").base, LowRankSource)


def test_tensors_that_are_no_tables_are_the_stored_ones(tmp_path):
    base = write_tokenized(tmp_path / "base", bpe())
    expert = write_tokenized(tmp_path / "expert", bpe(CODE), seed=1)
    aligned = align(base, {"code": expert}, tokenizer="base").experts["code"]
    others = [name for name in expert.infos() if name not in TABLES]
    assert others
    for name in others:
        assert aligned.read(name) is expert.read(name)
        assert aligned.infos()[name] == expert.infos()[name]


@pytest.mark.slow
def test_a_large_vocabulary_is_aligned_whole(tmp_path):
    order = torch.randperm(150_000, generator=torch.Generator().manual_seed(0)).tolist()
    base, expert = (Tokenizer(models.WordLevel(v, "t0")) for v in large_vocabularies(order))
    sources = [
        write_tokenized(tmp_path / name, tokenizer, n_rows=150_016, seed=seed, eos="t0")
        for seed, (name, tokenizer) in enumerate({"base": base, "expert": expert}.items())
    ]
    aligned = align(sources[0], {"big": sources[1]}, tokenizer="base").experts["big"].read(HEAD)
    theirs = torch.tensor(order).argsort()  # the expert's row of token 30000 + i
    assert torch.equal(aligned[30_000:150_000], sources[1].read(HEAD)[theirs[:120_000]])
    assert torch.equal(aligned[:30_000], sources[0].read(HEAD)[:30_000])


def large_vocabularies(order):
    """150,000 tokens each, 120,000 of them shared; the second in another order."""
    yield {f"t{i}": i for i in range(150_000)}
    yield {f"t{30_000 + place}": i for i, place in enumerate(order)}
