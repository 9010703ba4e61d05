"""`evomerge transplant` writes a model that loads and speaks in the tokens of another one."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from evomerge.cli import app
from tests.tokenized import CODE, ENGLISH, bpe, ids, with_tokens, write_tokenized


def test_the_written_model_has_the_donors_tokenizer_and_its_own_knowledge(tmp_path: Path) -> None:
    end = "<|im_end|>"
    theirs = with_tokens(bpe(CODE, special=[]), [end])
    model = write_tokenized(tmp_path / "model", bpe(), dtype=torch.bfloat16)
    write_tokenized(tmp_path / "donor", theirs, seed=1, eos=end, n_rows=320)
    arguments = [str(tmp_path / name) for name in ("model", "donor", "out")]
    result = CliRunner().invoke(app, ["transplant", *arguments, "--k", "4", "--at-once", "2"])
    assert result.exit_code == 0, result.output
    n_new = len(ids(theirs).keys() - ids(bpe()).keys()) - 1  # all but the end token
    assert f"{len(ids(theirs)) - n_new} tokens in common, {n_new} new" in result.output
    assert "lm_head.weight: new rows are off by" in result.output

    out = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.get_vocab() == ids(theirs)
    assert tokenizer.eos_token_id == out.config.eos_token_id == ids(theirs)[end]
    assert out.generation_config.eos_token_id == ids(theirs)[end]
    assert out.config.vocab_size == 320
    assert (tmp_path / "out/chat_template.jinja").read_text().startswith("donor: ")
    assert out.dtype == torch.bfloat16
    # A text of shared tokens means to it what it meant.
    byte_ids = [[table[token] for token in ("a", "b", "c")] for table in (ids(theirs), ids(bpe()))]
    before = AutoModelForCausalLM.from_pretrained(model.path, dtype="auto")
    states = [
        m(torch.tensor([i]), output_hidden_states=True).hidden_states[-1]
        for m, i in zip((out, before), byte_ids, strict=True)
    ]
    assert torch.equal(*states)
    assert json.loads((tmp_path / "out/config.json").read_text())["hidden_size"] == 8


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    for seed, name in enumerate(("model", "donor")):
        write_tokenized(tmp_path / name, bpe(ENGLISH), seed=seed)
    arguments = [str(tmp_path / name) for name in ("model", "donor", "donor")]
    result = CliRunner().invoke(app, ["transplant", *arguments])
    assert "exists and is not an empty folder" in str(result.exception)
