"""Objectives beside tasks: what is wrong with them is located and explained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from evomerge.errors import ConfigError, UsageError
from evomerge.run.build import load_experiment_tasks
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.texts import add_objectives, sentences, write_jsonl, write_plain
from tests.tiny import TinyZoo

GOOD = (
    "text: docs.jsonl, metric: perplexity",
    "text: prompts.txt, metric: kl, reference: red",
    "metric: parameters",
    "metric: layers",
)
Damage = Callable[[Path], object]


def nothing(_folder: Path) -> None:
    pass


def short(folder: Path) -> None:
    write_plain(folder / "docs.jsonl", ['{"text": "ba de fi"}', '{"text": ""}'])


def one_prompt(folder: Path) -> None:
    write_plain(folder / "prompts.txt", ["", "ba de fi", "  "])


def broken_line(folder: Path) -> None:
    write_plain(folder / "docs.jsonl", ['{"text": "ba"}', "", '{"text": 3}'])


def latin(folder: Path) -> None:
    (folder / "prompts.txt").write_bytes("grün\n".encode("latin-1") * 4)


BROKEN: dict[str, tuple[str, Damage, str]] = {
    "a missing text": (
        "text: nowhere.txt, metric: perplexity",
        nothing,
        r"yaml:7:6: objectives\[2\]\.text: found no file .*nowhere\.txt; expected a text",
    ),
    "a missing test text": (
        "text: docs.jsonl, metric: perplexity, test_text: nowhere.txt",
        nothing,
        r"objectives\[2\]\.test_text: found no file .*nowhere\.txt",
    ),
    "a text that is too short": (
        "text: docs.jsonl, metric: perplexity",
        short,
        r"objectives\[2\]\.text: .*docs\.jsonl has 1 stretches of up to 256 tokens, expected at "
        r"least 2",
    ),
    "a single prompt": (
        "text: prompts.txt, metric: kl",
        one_prompt,
        r"prompts\.txt has 1 prompts, expected at least 2",
    ),
    "a broken line": (
        "text: docs.jsonl, metric: kl",
        broken_line,
        r"docs\.jsonl:3 has no text, expected",
    ),
    "a text in another encoding": (
        "text: prompts.txt, metric: kl",
        latin,
        r"cannot read .*prompts\.txt: .*expected a text in UTF-8",
    ),
    "a reference that is no model": (
        "text: prompts.txt, metric: kl, reference: rde",
        nothing,
        r"objectives\[2\]\.reference: no model `rde`; expected one of .*did you mean `red`",
    ),
    "examples before a text": (
        "text: docs.jsonl, metric: perplexity, num_fewshot: 2",
        nothing,
        r"\.num_fewshot: `num_fewshot` says nothing about the perplexity of a text; leave it out",
    ),
    "a reference of a size": (
        "metric: layers, reference: red",
        nothing,
        r"\.reference: `reference` says nothing about the model's layers; leave it out",
    ),
    "a test text of a task": (
        "task: words_test, test_text: docs.jsonl",
        nothing,
        r"\.test_text: `test_text` says nothing about a task; leave it out",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_an_objective_is_located(
    tmp_path: Path, tiny_zoo: TinyZoo, name: str
) -> None:
    objective, damage, message = BROKEN[name]
    config = add_objectives(write_experiment(tmp_path, tiny_zoo), objective)
    damage(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_experiment(config)


def test_good_objectives_become_benchmarks(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = add_objectives(write_experiment(tmp_path, tiny_zoo), *GOOD)
    found = load_experiment_tasks(load_experiment(config))
    others = {name: own.n_items for name, own in found.items() if ":" in name or name == "model"}
    assert others == {"text:docs.perplexity": 30, "text:prompts.kl": 24, "model": 1}
    keys = [key for name in others for key in found[name].measures]
    assert keys == [
        "text:docs.perplexity:perplexity",
        "text:prompts.kl:kl",
        "model:parameters",
        "model:layers",
    ]


def test_a_text_of_few_tokens_is_refused_when_it_is_loaded(
    tmp_path: Path, tiny_zoo: TinyZoo
) -> None:
    config = add_objectives(write_experiment(tmp_path, tiny_zoo), GOOD[0])
    write_jsonl(tmp_path / "docs.jsonl", [" ".join(sentences(20))[:300]])
    experiment = load_experiment(config)
    with pytest.raises(UsageError, match="has 1 stretches of up to 256 tokens, expected at least"):
        load_experiment_tasks(experiment)
