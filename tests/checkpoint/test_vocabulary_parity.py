"""Tables merged across tokenizers, or transplanted, are mergekit's, token by token.

`mergekit_vocabularies.safetensors` holds the heads that mergekit 0.1.4 wrote for these three models
(merge_method: linear, dtype: float32, weights as below, tokenizer: {source: union | base | code}),
with the token of each row in the metadata; and the tables of `mergekit-tokensurgeon base code out
-k 4`.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from evomerge.checkpoint.transplant import Transplant
from evomerge.checkpoint.vocabulary_alignment import align
from tests.tokenized import CODE, bpe, with_tokens, write_tokenized

GOLDEN = Path(__file__).with_name("mergekit_vocabularies.safetensors")
WEIGHTS = {"code": 0.25, "chat": 0.25}
HEAD = "lm_head.weight"


@pytest.fixture
def base(tmp_path):
    return write_tokenized(tmp_path / "base", bpe())


@pytest.fixture
def code(tmp_path):
    tokenizer = with_tokens(bpe(CODE), ["<|im_start|>"])
    return write_tokenized(tmp_path / "code", tokenizer, seed=1, n_rows=320)


@pytest.mark.parametrize("tokenizer", ["union", "base", "code"])
def test_every_tokens_row_is_mergekits(tmp_path, base, code, tokenizer):
    experts = {
        "code": code,
        "chat": write_tokenized(tmp_path / "chat", with_tokens(bpe(), ["<chat>"]), seed=2),
    }
    with safe_open(GOLDEN, framework="pt") as golden:
        tokens, expected = json.loads(golden.metadata()[tokenizer]), golden.get_tensor(tokenizer)

    aligned = align(base, experts, tokenizer=tokenizer, trim=True)
    merged = 0.5 * aligned.base.read(HEAD)
    merged += sum(weight * aligned.experts[name].read(HEAD) for name, weight in WEIGHTS.items())

    ids = aligned.vocabulary.ids
    assert merged.shape == expected.shape
    assert set(tokens) == set(ids)
    # mergekit numbers what a union adds in an order of its own; the base's ids are the same.
    torch.testing.assert_close(merged[[ids[token] for token in tokens]], expected)
    if tokenizer != "union":
        assert tokens == list(ids)


@pytest.mark.parametrize("name", [HEAD, "model.embed_tokens.weight"])
def test_a_transplant_is_that_of_tokensurgeon(base, code, name):
    expected = load_file(GOLDEN)[f"transplant.{name}"]
    found = Transplant(base, code, k=4).read(name)
    torch.testing.assert_close(found[: len(expected)], expected, atol=1e-4, rtol=1e-4)
