"""The committed task files: disjoint, balanced, answerable, and as the README says."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.zoo.heldout import split_of
from experiments.zoo.tasks import EVALUATED, N_ITEMS, TASKS
from experiments.zoo.words import ENGLISH_NUMBERS, GERMAN_NUMBERS

FOLDER = Path(__file__).resolve().parents[3] / "experiments" / "zoo" / "tasks"
SPLITS = ("fewshot", *EVALUATED)
NUMBER_TASKS = ("math", "math_de", "say_english", "say_german")
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the zoo has not been built")


@cache
def documents(task: str, split: str) -> list[dict[str, Any]]:
    text = (FOLDER / f"{task}_{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def numbers_of(prompt: str) -> str:
    """Recover the canonical operands from the text alone."""
    words = [w for w in prompt.split() if w.isdigit() or w in ENGLISH_NUMBERS + GERMAN_NUMBERS]
    return "numbers:" + ",".join(str(read_number(word)) for word in words)


def read_number(word: str) -> int:
    if word.isdigit():
        return int(word)
    return (ENGLISH_NUMBERS if word in ENGLISH_NUMBERS else GERMAN_NUMBERS).index(word) + 1


@pytest.mark.parametrize("task", [task.name for task in TASKS])
@pytest.mark.parametrize("split", EVALUATED)
def test_a_task_has_enough_distinct_items_balanced_over_levels(task: str, split: Any) -> None:
    items = documents(task, split)
    assert len(items) == len({item["prompt"] for item in items}) == N_ITEMS[split]
    assert set(Counter(item["level"] for item in items).values()) == {N_ITEMS[split] // 5}


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_items_are_shuffled(task: str) -> None:
    levels = [item["level"] for item in documents(task, "test")]
    assert set(levels[:60]) == {1, 2, 3, 4, 5}
    assert levels != sorted(levels)


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_no_prompt_occurs_in_two_splits(task: str) -> None:
    prompts = [item["prompt"] for split in SPLITS for item in documents(task, split)]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("task", NUMBER_TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_no_number_item_has_operands_that_train_a_model(task: str, split: str) -> None:
    splits = {split_of(numbers_of(item["prompt"])) for item in documents(task, split)}
    assert splits == {split}


@pytest.mark.parametrize("split", SPLITS)
def test_no_list_item_has_operands_that_train_a_model(split: str) -> None:
    for item in documents("lists", split):
        letters = ",".join(item["prompt"].split()[1:-1])
        assert split_of(f"letters:{letters}") == split


@pytest.mark.parametrize("split", SPLITS)
def test_a_label_names_the_target_among_four_distinct_choices(split: str) -> None:
    for item in documents("german", split):
        assert len(set(item["choices"])) == 4
        assert item["choices"][item["label"]] == item["target"]


def test_labels_are_balanced() -> None:
    counts = Counter(item["label"] for item in documents("german", "test"))
    assert all(90 <= counts[label] <= 160 for label in range(4))


def test_both_sides_of_the_conflict_ask_the_same_questions() -> None:
    english, german = documents("say_english", "test"), documents("say_german", "test")
    assert [item["prompt"] for item in english] == [item["prompt"] for item in german]
    assert all(a["target"] != b["target"] for a, b in zip(english, german, strict=True))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_task_file_names_itself_and_data_beside_it(path: Path) -> None:
    task = yaml.safe_load(path.read_text())
    assert task["task"] == path.stem
    assert all((FOLDER / name).exists() for name in task["dataset_kwargs"]["data_files"].values())
