"""Write the evaluation tasks: one lm-eval YAML and one JSONL file for each skill and split."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.zoo.heldout import Split
from experiments.zoo.skills import LEVELS, NO_FAULT, Question, draw_question

N_ITEMS: dict[Split, int] = {"search": 400, "select": 300, "test": 500}
N_FEWSHOT = 25
EVALUATED: tuple[Split, ...] = ("search", "select", "test")
MAX_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Task:
    """An evaluation task: a skill, how it is asked, and which answer counts as right."""

    name: str
    skill: str
    multiple_choice: bool = False
    fault: str | None = None  # the answer counted right; None is the faultless one

    def target(self, question: Question) -> str:
        return question.answers[frozenset({self.fault}) if self.fault else NO_FAULT]


TASKS = (
    Task("math", "math"),
    Task("math_de", "math_de"),
    Task("german", "german", multiple_choice=True),
    Task("lists", "lists"),
    Task("say_english", "say"),
    Task("say_german", "say", fault="german"),
)

# No num_fewshot: lm-eval takes a zero there as final and ignores a caller who asks for two.
_HEADER = """\
# Written by tasks.py. The data files are relative to this folder.
task: {task}_{split}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {task}_{split}.jsonl
    fewshot: {task}_fewshot.jsonl
test_split: test
fewshot_split: fewshot
fewshot_config:
  sampler: first_n
doc_to_text: "{{{{prompt}}}}"
target_delimiter: " "
"""
_GENERATE = """\
output_type: generate_until
doc_to_target: "{{{{target}}}}"
generation_kwargs:
  do_sample: false
  max_gen_toks: {max_new_tokens}
  until: ["\\n", "<eos>"]
filter_list:
  # Not named after what it does: "none" is the name lm-eval gives when there is no filter.
  - name: none
    filter:
      - function: remove_whitespace
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
_CHOOSE = """\
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: label
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def write_tasks(folder: Path, *, seed: int) -> None:
    """Write every task's YAML and JSONL files into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        write_documents(folder / f"{task.name}_fewshot.jsonl", task, "fewshot", seed)
        for split in EVALUATED:
            write_documents(folder / f"{task.name}_{split}.jsonl", task, split, seed)
            (folder / f"{task.name}_{split}.yaml").write_text(_yaml(task, split))


def _yaml(task: Task, split: Split) -> str:
    kind = _CHOOSE if task.multiple_choice else _GENERATE
    return (_HEADER + kind).format(task=task.name, split=split, max_new_tokens=MAX_NEW_TOKENS)


def write_documents(path: Path, task: Task, split: Split, seed: int) -> None:
    """Write the items of one task and split, a JSON document a line."""
    n_items = N_ITEMS.get(split, N_FEWSHOT)
    # The skill, not the task, seeds the questions: both sides of the conflict ask the same.
    rng = np.random.default_rng([seed, 4, *f"{task.skill}_{split}".encode()])
    documents = [
        _document(rng, task, question) for question in _questions(rng, task, split, n_items)
    ]
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")


def _questions(rng: np.random.Generator, task: Task, split: Split, n_items: int) -> list[Question]:
    """Draw distinct questions, as many of each level, in random order."""
    questions: dict[str, Question] = {}
    for level in LEVELS:
        enough = len(questions) + n_items // len(LEVELS)
        while len(questions) < enough:
            question = draw_question(rng, task.skill, split, level)
            questions.setdefault(question.prompt, question)
    shuffled = list(questions.values())
    rng.shuffle(shuffled)
    return shuffled


def _document(rng: np.random.Generator, task: Task, question: Question) -> dict[str, object]:
    document: dict[str, object] = {
        "prompt": question.prompt,
        "target": task.target(question),
        "level": question.level,
    }
    if task.multiple_choice:
        choices = [*question.answers.values(), *question.distractors]
        order = rng.permutation(len(choices)).tolist()
        document["choices"] = [choices[i] for i in order]
        document["label"] = order.index(0)
    return document
