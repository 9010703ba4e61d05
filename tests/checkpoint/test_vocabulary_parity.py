"""Tables merged across tokenizers are mergekit's, token by token.

`mergekit_vocabularies.safetensors` holds the heads that mergekit 0.1.4 wrote for these three models
(merge_method: linear, dtype: float32, weights as below, tokenizer: {source: union | base | code}),
with the token of each row in the metadata.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from evomerge.checkpoint.vocabulary_alignment import align
from tests.tokenized import CODE, bpe, with_tokens, write_tokenized

GOLDEN = Path(__file__).with_name("mergekit_vocabularies.safetensors")
WEIGHTS = {"code": 0.25, "chat": 0.25}
HEAD = "lm_head.weight"


@pytest.mark.parametrize("tokenizer", ["union", "base", "code"])
def test_every_tokens_row_is_mergekits(tmp_path, tokenizer):
    base = write_tokenized(tmp_path / "base", bpe())
    code = with_tokens(bpe(CODE), ["<|im_start|>"])
    experts = {
        "code": write_tokenized(tmp_path / "code", code, seed=1, n_rows=320),
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
