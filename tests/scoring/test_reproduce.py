import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from evomerge.errors import InfrastructureError, ScoringError
from evomerge.records import Permissions
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.catalogue import Catalogue, LocalGroup
from evomerge.scoring.reproduce import evaluate_command, write_portable_tasks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from evomerge.scoring.task_files import read_task
from evomerge.scoring.task_yaml import code_in
from tests.tiny import TinyZoo


def run(command: list[str], cwd: Path) -> dict[str, list[dict[str, float]]]:
    """Run an lm_eval command; the rows of every task by its items' numbers."""
    arguments = [sys.executable, "-m", *command]
    arguments += ["--output_path", str(cwd / "out"), "--log_samples"]
    subprocess.run(arguments, cwd=cwd, check=True, capture_output=True, env=dict(os.environ))
    rows = {}
    for path in (cwd / "out").rglob("samples_*.jsonl"):
        task = path.name.removeprefix("samples_").rsplit("_", 1)[0]
        lines = path.read_text().splitlines()
        rows[task] = sorted(map(json.loads, lines), key=lambda row: row["doc_id"])
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("subset", [False, True])
def test_the_command_reproduces_every_score_from_an_unrelated_folder(
    tiny_zoo: TinyZoo, tmp_path: Path, subset: bool
) -> None:
    model, tasks = tiny_zoo.experts["red"], ("words_test", "choice_test")
    benchmarks = load_benchmarks(tasks, tasks_path=tiny_zoo.tasks_path)
    scorer = Scorer(ResidentModel.from_folder(model, dtype=torch.float32), benchmarks)
    items = {
        task: (3, 7, 11, 30) if subset else tuple(range(benchmarks[task].n_items)) for task in tasks
    }
    write_portable_tasks(tasks, tasks_path=tiny_zoo.tasks_path, out_dir=tmp_path / "tasks, ours")

    command = evaluate_command(
        model,
        tasks,
        dtype="float32",
        include_path=tmp_path / "tasks, ours",
        batch_size=16,
        num_fewshot=0 if subset else None,
        items=items if subset else None,
    )
    (tmp_path / "elsewhere").mkdir()
    rows = run(command, tmp_path / "elsewhere")

    for task in tasks:
        scores = scorer.score(task, items[task])[task]
        assert [row["doc_id"] for row in rows[task]] == list(scores.items)
        assert [row[benchmarks[task].metric] for row in rows[task]] == list(scores.values)


@pytest.fixture
def tasks(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the tasks: one names code, and two are a group that is asked otherwise."""
    path = Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))
    (path / "utils.py").write_text("def question(document):\n    return document['prompt'] * 2\n")
    yaml = path / "words_test.yaml"
    yaml.write_text(yaml.read_text().replace('"{{prompt}}"', "!function utils.question"))
    (path / "choices.yaml").write_text(
        "group: choices\ntask: [choice_test, choice_search]\nnum_fewshot: 1\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: false}]\n"
    )
    return path


@pytest.mark.slow
def test_the_command_reproduces_groups_code_and_chats(
    tiny_zoo: TinyZoo, tasks: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_zoo.base, tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(model)
    names = ("words_test", "choices")
    benchmarks = load_benchmarks(
        names, tasks_path=tasks, chat=tokenizer, permissions=Permissions(task_code=True)
    )
    scorer = Scorer(ResidentModel.from_folder(model, dtype=torch.float32), benchmarks)
    write_portable_tasks(names, tasks_path=tasks, out_dir=tmp_path / "portable")
    command = evaluate_command(
        model, names, dtype="float32", include_path=tmp_path / "portable", chat_template=True
    )
    (tmp_path / "elsewhere").mkdir()
    rows = run(command, tmp_path / "elsewhere")
    words = scorer.score("words_test", range(60))["words_test"]
    assert [row["exact_match"] for row in rows["words_test"]] == list(words.values)
    (results,) = (tmp_path / "elsewhere").rglob("results_*.json")
    choices = scorer.score("choices", range(100))["choices"]
    score = json.loads(results.read_text())["groups"]["choices"]["acc,none"]
    assert sum(choices.values) / sum(choices.weights) == pytest.approx(score)


def test_a_portable_task_with_code_has_it_from_where_it_lies(tasks: Path, tmp_path: Path) -> None:
    (path,) = write_portable_tasks(["words_test"], tasks_path=tasks, out_dir=tmp_path / "portable")
    there, here = read_task(path), read_task(tasks / "words_test.yaml")
    assert there.config == here.config
    assert next(iter(code_in(there.config))).path == tasks / "words_test.yaml"


def test_a_portable_group_brings_its_tasks_under_names_of_its_own(
    tasks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "portable"
    paths = write_portable_tasks(["choice_test", "choices"], tasks_path=tasks, out_dir=out)
    assert len(paths) == 4
    group = Catalogue(out).read("choices")
    assert isinstance(group, LocalGroup)
    assert [task.name for task in group.tasks] == ["choices::choice_test", "choices::choice_search"]
    assert [task.config["num_fewshot"] for task in group.tasks] == [1, 1]
    assert "num_fewshot" not in read_task(out / "choice_test.yaml").config


def test_what_lm_eval_wants_confirmed_is_in_the_command(tmp_path: Path) -> None:
    command = evaluate_command(
        tmp_path,
        ["t"],
        dtype="float32",
        chat_template=True,
        permissions=Permissions(task_code=True, unsafe_code=True, remote_code=True),
    )
    flags = ["--apply_chat_template", "--confirm_run_unsafe_code", "--trust_remote_code"]
    assert command[-3:] == flags


def test_a_model_folder_with_a_comma_in_its_name_stays_one_argument(tmp_path: Path) -> None:
    command = evaluate_command(tmp_path / "a, b=c", ["t"], dtype="float32", num_fewshot=2)
    value = command[command.index("--model_args") + 1]
    assert json.loads(value) == {"pretrained": str(tmp_path / "a, b=c"), "dtype": "float32"}
    assert command[-2:] == ["--num_fewshot", "2"]


def test_a_subset_with_few_shot_examples_has_no_command(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"num_fewshot 2.*other few-shot examples.*leave out"):
        evaluate_command(tmp_path, ["t"], dtype="float32", num_fewshot=2, items={"t": [1]})


def test_a_subset_without_items_has_no_command(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"no items are given for 'u'.*score all"):
        evaluate_command(
            tmp_path, ["t", "u"], dtype="float32", num_fewshot=0, items={"t": [1], "u": []}
        )


def test_a_portable_task_is_the_task_with_absolute_data_files(
    tiny_zoo: TinyZoo, tmp_path: Path
) -> None:
    names = ["words_test", "a_task_of_lm_eval"]
    (path,) = write_portable_tasks(names, tasks_path=tiny_zoo.tasks_path, out_dir=tmp_path)
    original = read_task(tiny_zoo.tasks_path / "words_test.yaml")
    assert read_task(path).config == original.config
    assert all(file.is_absolute() and file.is_file() for file in read_task(path).data_files)


def test_a_folder_that_cannot_be_written_is_told(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InfrastructureError, match=r"cannot write task files into .*taken: "):
        write_portable_tasks(
            ["words_test"], tasks_path=tiny_zoo.tasks_path, out_dir=tmp_path / "taken"
        )
