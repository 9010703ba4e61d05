"""A model takes over another tokenizer: shared tokens keep their rows, new ones are combined."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.transplant import Transplant
from evomerge.checkpoint.vocabulary import read_vocabulary
from evomerge.checkpoint.vocabulary_spelling import spellings
from evomerge.errors import ModelError
from tests.tokenized import CODE, bpe, ids, with_tokens, word_level, write_tokenized

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def change(model, edit):
    """The same model with its tensors edited on disk."""
    file = model.path / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)
    return open_checkpoint(model.path)


@pytest.mark.parametrize("n_rows", [None, 320])
def test_the_same_tokenizer_gives_the_model_bit_for_bit(tmp_path, n_rows):
    model = write_tokenized(tmp_path / "model", bpe(), n_rows=n_rows, dtype=torch.bfloat16)
    donor = write_tokenized(tmp_path / "donor", bpe(), seed=1, n_rows=n_rows)
    tensors = dict(Transplant(model, donor).tensors())
    assert list(tensors) == list(model.infos())
    for name, tensor in tensors.items():
        assert torch.equal(tensor, model.read(name)), name


def test_shared_tokens_keep_the_models_rows_and_its_dtype(tmp_path):
    model = write_tokenized(tmp_path / "model", bpe(), dtype=torch.bfloat16)
    donor = write_tokenized(tmp_path / "donor", bpe(CODE, vocab=290), seed=1)
    transplant = Transplant(model, donor)
    mine, theirs = ids(bpe()), ids(bpe(CODE, vocab=290))
    for name in (EMBEDDING, HEAD):
        found, stored = transplant.read(name), model.read(name)
        assert found.shape == transplant.infos()[name].shape == (len(theirs), 8)
        assert found.dtype == torch.bfloat16
        assert found.isfinite().all()
        for token in mine.keys() & theirs.keys():
            assert torch.equal(found[theirs[token]], stored[mine[token]]), token


def test_a_row_that_is_a_combination_of_shared_rows_is_that_combination_of_the_models(tmp_path):
    chat = with_tokens(bpe(), ["<new>"])
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", chat, seed=1)

    def combined(tensors):
        tensors[EMBEDDING][-1] = 2 * tensors[EMBEDDING][70] - tensors[EMBEDDING][80]
        tensors[HEAD][-1] = tensors[HEAD][90]

    # Orthogonal rows, so that greed is right.
    donor = change(
        donor, lambda t: [t.update({n: torch.eye(len(t[n]))}) for n in (EMBEDDING, HEAD)]
    )
    transplant = Transplant(model, change(donor, combined))
    embedding, head = model.read(EMBEDDING), model.read(HEAD)
    torch.testing.assert_close(
        transplant.read(EMBEDDING)[-1], 2 * embedding[70] - embedding[80], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(transplant.read(HEAD)[-1], head[90], atol=1e-5, rtol=1e-5)
    assert max(transplant.residuals().values()) < 1e-6


def test_a_donor_of_another_width_whose_space_is_the_models_gives_its_rows(tmp_path):
    """Rows that are the model's, rotated into a wider space, come back as the model's."""
    both = with_tokens(bpe(), ["<new>"])
    model = write_tokenized(tmp_path / "model", both)
    donor = write_tokenized(tmp_path / "donor", both, seed=1)
    rotation = torch.linalg.qr(torch.randn(24, 8, generator=torch.Generator().manual_seed(0)))[0]

    def rotated(tensors):
        for name in (EMBEDDING, HEAD):
            tensors[name] = (model.read(name) @ rotation.T).contiguous()

    donor = change(donor, rotated)
    (model.path / "tokenizer.json").write_text(bpe().to_str())  # forgets `<new>`
    transplant = Transplant(open_checkpoint(model.path), donor)
    torch.testing.assert_close(
        transplant.read(HEAD)[-1], model.read(HEAD)[-1], atol=1e-3, rtol=1e-3
    )


def test_a_tied_donor_lends_its_embedding_for_the_head(tmp_path):
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", bpe(CODE), seed=1, tied=True)
    transplant = Transplant(model, donor)
    assert transplant.read(HEAD).isfinite().all()
    assert list(transplant.residuals()) == [EMBEDDING]


def test_fewer_anchors_are_the_first_of_the_donor(tmp_path):
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", with_tokens(bpe(), ["<new>"]), seed=1)
    few = Transplant(model, donor, anchors=1).read(HEAD)[-1]
    first = model.read(HEAD)[0]
    assert abs(torch.nn.functional.cosine_similarity(few, first, dim=0)) > 1 - 1e-6


def test_the_tokens_that_end_a_text_are_matched_by_their_role(tmp_path):
    theirs = with_tokens(bpe(special=[]), ["<|im_end|>"])
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", theirs, seed=1, eos="<|im_end|>")
    found = Transplant(model, donor).read(HEAD)[ids(theirs)["<|im_end|>"]]
    assert torch.equal(found, model.read(HEAD)[ids(bpe())["<eos>"]])


def test_padding_of_the_donor_is_a_row_that_is_never_the_likeliest(tmp_path):
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", bpe(), seed=1, n_rows=320)
    head = Transplant(model, donor).read(HEAD)
    n = len(ids(bpe()))
    assert torch.equal(head[:n], model.read(HEAD))
    torch.testing.assert_close(head[n:], model.read(HEAD).mean(0).expand(320 - n, -1))


def test_tokenizers_without_a_token_in_common_are_refused(tmp_path):
    words = Tokenizer(models.WordLevel({"one": 0, "two": 1}, "one"))
    others = Tokenizer(models.WordLevel({"drei": 0, "vier": 1}, "drei"))
    model = write_tokenized(tmp_path / "model", words, eos="one")
    donor = write_tokenized(tmp_path / "donor", others, seed=1, eos="nothing")
    with pytest.raises(ModelError, match="have no token in common"):
        Transplant(model, donor)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    model = write_tokenized(tmp_path / "model", None)
    donor = write_tokenized(tmp_path / "donor", bpe(), seed=1)
    with pytest.raises(ModelError, match=r"model has no tokenizer\.json, expected both"):
        Transplant(model, donor)


def sentencepiece() -> Tokenizer:
    """Spaces as `▁` and bytes as `<0x0A>`, as Llama 2 has them."""
    vocab = {token: i for i, token in enumerate(["<unk>", "<0x0A>", "▁the", "cat", "▁"])}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))  # noqa: S106
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    return tokenizer


def spelled(folder: Path, tokenizer: Tokenizer) -> dict[str, bytes]:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = read_vocabulary(folder)
    assert vocabulary is not None
    return spellings(folder, vocabulary)


def test_tokens_are_known_by_their_text_whichever_way_they_are_spelled(tmp_path):
    byte_level = spelled(tmp_path / "bpe", bpe(special=["<eos>", "Ġ<x>"]))
    assert byte_level["Ġthe"] == b" the"
    assert byte_level["Ċ"] == b"\n"
    assert byte_level["Ġ<x>"] == "Ġ<x>".encode()  # an added token is what it says
    assert sorted(text for text in byte_level.values() if len(text) == 1) == [
        bytes([byte]) for byte in range(256)
    ]
    pieces = spelled(tmp_path / "pieces", sentencepiece())
    assert pieces == {
        "<unk>": b"<unk>", "<0x0A>": b"\n", "▁the": b" the", "cat": b"cat", "▁": b" "
    }  # fmt: skip
    assert spelled(tmp_path / "words", word_level())["the"] == b"the"


def test_every_decoded_token_is_its_spelling(tmp_path):
    tokenizer = bpe()
    texts = spelled(tmp_path / "bpe", tokenizer)
    for token, i in ids(tokenizer).items():
        decoded = tokenizer.decode([i], skip_special_tokens=False)
        assert decoded == texts[token].decode(errors="replace"), token


def test_models_that_spell_differently_share_tokens(tmp_path):
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", sentencepiece(), seed=1, eos="<unk>")
    found = Transplant(model, donor).read(EMBEDDING)
    for token, mine in {"<0x0A>": "Ċ", "▁the": "Ġthe", "▁": "Ġ", "<unk>": "<eos>"}.items():
        row = model.read(EMBEDDING)[ids(bpe())[mine]]
        assert torch.equal(found[ids(sentencepiece())[token]], row), token


def test_lists_of_end_tokens_are_matched_by_their_first(tmp_path):
    theirs = with_tokens(bpe(special=[]), ["<|end|>", "<|stop|>"])
    model = write_tokenized(tmp_path / "model", bpe())
    donor = write_tokenized(tmp_path / "donor", theirs, seed=1, eos="<|end|>")
    config = json.loads((donor.path / "config.json").read_text())
    config["eos_token_id"] = [ids(theirs)["<|end|>"], ids(theirs)["<|stop|>"]]
    (donor.path / "config.json").write_text(json.dumps(config))
    found = Transplant(model, open_checkpoint(donor.path)).read(HEAD)[ids(theirs)["<|end|>"]]
    assert torch.equal(found, model.read(HEAD)[ids(bpe())["<eos>"]])
