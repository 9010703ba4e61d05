"""Texts become items: read once, the same wherever they lie, refused where they make none."""

from pathlib import Path

import pytest

from evomerge.errors import ModelError, UsageError
from evomerge.scoring.resident import load_tokenizer
from evomerge.scoring.text_benchmark import load_text
from evomerge.scoring.text_files import LONGEST
from tests.texts import sentences, write_jsonl, write_plain
from tests.tiny import TinyZoo, write_tokenizer


def test_each_token_of_a_text_is_foretold_once(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    path = write_plain(tmp_path / "wiki.txt", sentences(60))
    text = load_text("text:wiki", "perplexity", path, model=tiny_zoo.base)
    tokenizer = load_tokenizer(tiny_zoo.base)
    scored = [
        int(token)
        for item in range(text.n_items)
        for token in text.sequence(item)[-text.n_scored[item] :]
    ]
    assert scored == tokenizer(path.read_text())["input_ids"]
    assert text.n_items > 3
    assert text.n_scored.max() == LONGEST


def test_what_stands_before_an_item_is_the_text_before_it(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    path = write_plain(tmp_path / "wiki.txt", sentences(60))
    text = load_text("text:wiki", "perplexity", path, model=tiny_zoo.base)
    tokenizer = load_tokenizer(tiny_zoo.base)
    whole = [tokenizer.eos_token_id, *tokenizer(path.read_text())["input_ids"]]
    end = 1
    for item in range(text.n_items):
        sequence = text.sequence(item).tolist()
        end += int(text.n_scored[item])
        assert sequence == whole[end - len(sequence) : end]
        assert len(sequence) <= LONGEST + 1


def test_documents_do_not_see_each_other(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    path = write_jsonl(tmp_path / "docs.jsonl", sentences(5))
    text = load_text("text:docs", "perplexity", path, model=tiny_zoo.base)
    end = load_tokenizer(tiny_zoo.base).eos_token_id
    assert text.n_items == 5
    assert [text.sequence(item)[0] for item in range(5)] == [end] * 5


def test_without_a_prefix_token_the_first_token_is_context(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    model = tmp_path / "model"
    tokenizer = write_tokenizer(model)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(model)
    (model / "config.json").write_bytes((tiny_zoo.base / "config.json").read_bytes())
    path = write_jsonl(tmp_path / "docs.jsonl", sentences(2))
    text = load_text("text:docs", "perplexity", path, model=model)
    first = tokenizer(sentences(2)[0])["input_ids"]
    assert text.sequence(0).tolist() == first
    assert text.n_scored[0] == len(first) - 1


@pytest.mark.parametrize("write", [write_jsonl, write_plain])
def test_prompts_are_documents_or_lines(tmp_path: Path, tiny_zoo: TinyZoo, write: object) -> None:
    assert callable(write)
    name = "prompts.jsonl" if write is write_jsonl else "prompts.txt"
    path = write(tmp_path / name, [*sentences(7), ""])
    text = load_text("text:p", "kl", path, model=tiny_zoo.base)
    tokenizer = load_tokenizer(tiny_zoo.base)
    found = [text.sequence(item).tolist() for item in range(text.n_items)]
    assert found == [tokenizer(prompt)["input_ids"] for prompt in sentences(7)]


def test_the_last_tokens_of_a_long_prompt_are_kept(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    long = " ".join(sentences(80))
    text = load_text(
        "text:p", "kl", write_jsonl(tmp_path / "p.jsonl", [long, "say:"]), model=tiny_zoo.base
    )
    tokens = load_tokenizer(tiny_zoo.base)(long)["input_ids"]
    assert len(tokens) > 256  # positions of the model
    assert text.sequence(0).tolist() == tokens[-256:]


def test_prompts_can_be_put_into_a_chat_template(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    model = tmp_path / "model"
    tokenizer = write_tokenizer(model)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}="
    tokenizer.save_pretrained(model)
    (model / "config.json").write_bytes((tiny_zoo.base / "config.json").read_bytes())
    path = write_plain(tmp_path / "p.txt", ["ba de", "fi"])
    text = load_text("text:p", "kl", path, model=model, chat_template=True)
    assert tokenizer.decode(text.sequence(0)) == "user: ba de\n="
    with pytest.raises(UsageError, match=r"no chat template to put the prompts of .*p\.txt into"):
        load_text("text:p", "kl", path, model=tiny_zoo.base, chat_template=True)


def test_the_digest_is_of_the_content_alone(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    def digest(name: str, texts: list[str]) -> str:
        path = write_jsonl(tmp_path / name, texts)
        return load_text("text:x", "perplexity", path, model=tiny_zoo.base).digest

    assert digest("a.jsonl", sentences(5)) == digest("b.jsonl", sentences(5))
    assert digest("a.jsonl", sentences(5)) != digest("b.jsonl", sentences(6))


@pytest.mark.parametrize(
    ("metric", "found"),
    [("perplexity", "1 stretches of up to 256 tokens"), ("kl", "1 prompts")],
)
def test_a_text_that_is_too_short_is_refused(
    tmp_path: Path, tiny_zoo: TinyZoo, metric: str, found: str
) -> None:
    path = write_plain(tmp_path / "short.txt", ["ba de fi"])
    with pytest.raises(UsageError, match=f"short.txt has {found}, expected at least 2"):
        load_text("text:x", metric, path, model=tiny_zoo.base)  # type: ignore[arg-type]


def test_a_broken_line_is_named(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text('{"text": "ba"}\n{"prompt": "de"}\n')
    with pytest.raises(UsageError, match=r"docs\.jsonl:2 has no text"):
        load_text("text:x", "kl", path, model=tiny_zoo.base)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "model")
    path = write_plain(tmp_path / "p.txt", ["ba", "de"])
    with pytest.raises(ModelError, match="cannot load the config"):
        load_text("text:x", "kl", path, model=tmp_path / "model")
