"""Tasks that name code: scored as lm-eval scores them where it is allowed, and nowhere else."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
import torch

from evomerge.errors import ScoringError
from evomerge.records import Permissions
from evomerge.scoring.benchmark import load_benchmarks
from evomerge.scoring.check import check_benchmarks
from evomerge.scoring.resident import ResidentModel
from evomerge.scoring.scorer import Scorer
from tests.scoring.lm_eval_rows import evaluate_by_lm_eval, rows_of
from tests.tiny import TinyZoo

ALLOWED = Permissions(task_code=True)
CODE = """\
import random
import re

SEEN = re.compile("[aeiou]")


def shuffled(documents):
    order = random.sample(range(len(documents)), len(documents))
    return documents.select(order)


def reversed_order(documents):
    return documents.select(range(len(documents) - 1, -1, -1))


def question(document):
    return document["prompt"].replace("say", "tell")


def judged(document, results):
    return {"vowels": len(SEEN.findall(results[0])), "right": results[0] == document["target"]}


def is_long(references, predictions, **_):
    return float(len(predictions[0]) > len(references[0]))
"""
METRICS = """\
metric_list:
  - metric: vowels
    aggregation: mean
    higher_is_better: false
  - metric: right
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture
def tasks(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the tasks, of which words_test names code."""
    path = Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))
    (path / "utils.py").write_text(CODE)
    yaml = path / "words_test.yaml"
    text = yaml.read_text().replace('"{{prompt}}"', "!function utils.question")
    text = text[: text.index("metric_list:")] + METRICS
    lines = (
        "process_docs: !function utils.reversed_order",
        "process_results: !function utils.judged",
    )
    yaml.write_text("\n".join((text, *lines, "")))
    return path


def test_tasks_with_code_score_as_in_lm_eval(tiny_zoo: TinyZoo, tasks: Path) -> None:
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    evaluation = evaluate_by_lm_eval(resident, ["words_test"], tasks)
    metrics = {"words_test": ["right", "vowels"]}
    benchmarks = load_benchmarks(
        ["words_test"], tasks_path=tasks, metrics=metrics, permissions=ALLOWED
    )
    scores = Scorer(resident, benchmarks).score("words_test", range(60))
    rows = rows_of(evaluation, "words_test")
    assert [r.args for r in benchmarks["words_test"].requests[7]] == rows[7]["arguments"]
    for metric in ("right", "vowels"):
        own = list(scores[f"words_test:{metric}"].values)
        assert own == [float(row[metric]) for row in rows]
    assert len({*scores["words_test:vowels"].values}) > 1
    measures = benchmarks["words_test"].measures
    assert not measures["words_test:vowels"].higher_is_better


def test_a_metric_may_be_code(tiny_zoo: TinyZoo, tasks: Path) -> None:
    yaml = tasks / "words_test.yaml"
    text = yaml.read_text().replace("process_results: !function utils.judged", "")
    yaml.write_text(
        text[: text.index("  - metric: vowels")]
        + "  - {metric: !function utils.is_long , aggregation: mean, higher_is_better: true}\n"
    )
    benchmark = load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)["words_test"]
    assert benchmark.metric == "is_long"
    assert benchmark.values(0, ["a very long answer"]) == {"words_test": 1.0}
    assert benchmark.values(0, [""]) == {"words_test": 0.0}


def test_code_travels_to_a_machine_that_has_not_its_file(tasks: Path, tmp_path: Path) -> None:
    benchmark = load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)["words_test"]
    packed = tmp_path / "benchmark"
    packed.write_bytes(cloudpickle.dumps(benchmark.portable()))
    shutil.rmtree(tasks)
    code = (
        "import cloudpickle, pathlib, sys\n"
        "benchmark = cloudpickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "assert benchmark.values(0, ['aeio u']) == {'words_test': 5.0}\n"
    )
    subprocess.run([sys.executable, "-c", code, str(packed)], check=True)


def test_what_is_shuffled_is_shuffled_alike_and_leaves_no_trace(
    tiny_zoo: TinyZoo, tasks: Path
) -> None:
    """lm-eval itself shuffles once more before it judges, and so judges by other documents."""
    yaml = tasks / "words_test.yaml"
    yaml.write_text(yaml.read_text().replace("reversed_order", "shuffled"))
    resident = ResidentModel.from_folder(tiny_zoo.base, dtype=torch.float32)
    rows = rows_of(evaluate_by_lm_eval(resident, ["words_test"], tasks), "words_test")
    random.seed(5)
    expected = random.getstate()
    once, again = (
        load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)["words_test"]
        for _ in range(2)
    )
    assert random.getstate() == expected
    assert [once.requests[7][0].args] == rows[7]["arguments"]
    assert once.digest == again.digest
    for document, (request,) in zip(once.documents, once.requests, strict=True):
        assert request.args[0] == str(document["prompt"]).replace("say", "tell")


def test_code_is_imported_by_nobody_who_may_not(tasks: Path) -> None:
    (tasks / "utils.py").write_text("raise SystemExit('it ran')\n")
    message = r"words_test.*names code: !function utils\.\w+ in .*line \d+ and 2 more.*--allow-task"
    with pytest.raises(ScoringError, match=message):
        load_benchmarks(["words_test"], tasks_path=tasks)
    assert len(check_benchmarks(["words_test"], tasks_path=tasks)) == 1
    assert check_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED) == []


def test_other_code_is_another_benchmark(tasks: Path) -> None:
    def digest() -> str:
        loaded = load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)
        return loaded["words_test"].digest

    before = digest()
    assert digest() == before
    (tasks / "utils.py").write_text(CODE.replace("[aeiou]", "[aeiouy]"))
    assert digest() != before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("question = None +", r"!function utils\.\w+ in .*cannot be imported: SyntaxError"),
        ("import no_such_module", r"cannot be imported: ModuleNotFoundError: No module named 'n"),
        ("question = 1", r"cannot be imported: AttributeError: .*has no function 'reversed_order'"),
        (CODE.replace('"say", "tell"', '"say", 1 / 0'), r"cannot load task 'words_test'.*Division"),
    ],
)  # fmt: skip
def test_code_that_fails_is_an_error_that_says_where(tasks: Path, code: str, message: str) -> None:
    (tasks / "utils.py").write_text(code)
    with pytest.raises(ScoringError, match=message):
        load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)


def test_programs_of_the_model_need_a_flag_of_their_own(tasks: Path) -> None:
    with (tasks / "words_test.yaml").open("a") as file:
        file.write("unsafe_code: true\n")
    with pytest.raises(ScoringError, match=r"programs that the model writes.*--confirm-run-unsafe"):
        load_benchmarks(["words_test"], tasks_path=tasks, permissions=ALLOWED)
    both = Permissions(task_code=True, unsafe_code=True)
    assert load_benchmarks(["words_test"], tasks_path=tasks, permissions=both)


def test_no_template_reaches_into_python(tiny_zoo: TinyZoo, tmp_path: Path) -> None:
    tasks = Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))
    yaml = tasks / "words_test.yaml"
    yaml.write_text(yaml.read_text().replace("{{prompt}}", "{{prompt.__class__.__mro__}}"))
    with pytest.raises(ScoringError, match=r"cannot load task 'words_test'.*SecurityError.*unsafe"):
        load_benchmarks(["words_test"], tasks_path=tasks)
