"""Loading benchmarks, and what is said of those that cannot be loaded or used."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from evomerge.errors import ScoringError
from evomerge.records import Measure
from evomerge.scoring.benchmark import Benchmark, load_benchmarks
from evomerge.scoring.check import check_benchmarks
from evomerge.scoring.task_files import read_task
from tests.tiny import TinyZoo


@pytest.fixture
def tasks(tiny_zoo: TinyZoo, tmp_path: Path) -> Path:
    """A copy of the tasks to spoil."""
    return Path(shutil.copytree(tiny_zoo.tasks_path, tmp_path / "tasks"))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_benchmarks_load_whatever_the_working_directory(
    tiny_zoo: TinyZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    benchmarks = load_benchmarks(tiny_zoo.test_tasks, tasks_path=tiny_zoo.tasks_path, num_fewshot=1)
    words, choice = (benchmarks[name] for name in tiny_zoo.test_tasks)
    assert (words.n_items, words.metric, words.metrics[0].filter) == (60, "exact_match", "none")
    assert (choice.n_items, choice.metric, choice.output_type) == (60, "acc", "multiple_choice")
    assert words.num_fewshot == choice.num_fewshot == 1
    assert [len(requests) for requests in choice.requests] == [4] * 60


def test_the_digest_of_a_metric_does_not_know_the_others(tiny_zoo: TinyZoo) -> None:
    """So that an item bank of it stays good when a task is measured in another way too."""

    def choice(*metrics: str | None) -> Benchmark:
        wanted = {"choice_test": metrics}
        loaded = load_benchmarks(["choice_test"], tasks_path=tiny_zoo.tasks_path, metrics=wanted)
        assert isinstance(loaded["choice_test"], Benchmark)
        return loaded["choice_test"]

    alone, both = choice(None), choice(None, "log_likelihood")
    assert alone.digest_of("choice_test") == both.digest_of("choice_test") == alone.digest
    assert both.digest_of("choice_test:log_likelihood") != alone.digest != both.digest


def test_scoring_copies_leaves_the_requests_untouched(tiny_zoo: TinyZoo) -> None:
    benchmark = load_benchmarks(["words_test"], tasks_path=tiny_zoo.tasks_path)["words_test"]
    target = str(benchmark.documents[3]["target"])
    assert [benchmark.values(3, [target]) for _ in range(2)] == [{"words_test": 1.0}] * 2
    assert benchmark.values(3, [target + "?"]) == {"words_test": 0.0}
    assert benchmark.requests[3][0].resps == []


@pytest.mark.parametrize("name", ["words_test", "choice_test"])
def test_a_benchmark_can_travel_to_a_machine_that_has_none_of_its_files(
    tiny_zoo: TinyZoo, name: str
) -> None:
    benchmark = load_benchmarks([name], tasks_path=tiny_zoo.tasks_path, num_fewshot=2)[name]
    text = cloudpickle.dumps(benchmark.portable())
    assert b".arrow" not in text
    there = cloudpickle.loads(text)
    arguments = [[request.args for request in requests] for requests in there.requests]
    assert arguments == [[request.args for request in item] for item in benchmark.requests]
    for responses in _some_responses(benchmark):
        assert there.values(5, responses) == benchmark.values(5, responses)
    assert benchmark.task.dataset is not None


def _some_responses(benchmark: Benchmark) -> list[list[object]]:
    if benchmark.output_type == "generate_until":
        return [[benchmark.documents[5]["target"]], ["something else"]]
    n = len(benchmark.requests[5])
    return [[(-float(k != best), False) for k in range(n)] for best in range(n)]


@pytest.mark.parametrize("change", ["ignore_case: true", "regexes_to_ignore: ['a']"])
def test_other_rules_are_another_benchmark_and_another_folder_is_not(
    tasks: Path, tiny_zoo: TinyZoo, change: str
) -> None:
    def digest(path: Path) -> str:
        return load_benchmarks(["words_test"], tasks_path=path)["words_test"].digest

    before = digest(tasks)
    assert before == digest(tiny_zoo.tasks_path)
    replace(tasks / "words_test.yaml", "higher_is_better", f"{change}\n    higher_is_better")
    assert digest(tasks) != before


def test_a_metric_can_be_chosen_with_its_filter(tiny_zoo: TinyZoo) -> None:
    benchmarks = load_benchmarks(
        ["choice_test"], tasks_path=tiny_zoo.tasks_path, metrics={"choice_test": ["acc_norm,none"]}
    )
    assert benchmarks["choice_test"].metric == "acc_norm"


def test_several_metrics_of_a_task_come_from_the_same_responses(tasks: Path) -> None:
    replace(
        tasks / "choice_test.yaml", "metric_list:",
        "metric_list:\n  - metric: mcc\n  - metric: brier_score",
    )  # fmt: skip
    wanted = ["acc", "log_likelihood", "mcc", "acc_norm", "brier_score"]
    benchmark = load_benchmarks(["choice_test"], tasks_path=tasks, metrics={"choice_test": wanted})[
        "choice_test"
    ]
    assert [metric.key for metric in benchmark.metrics] == [
        f"choice_test:{name}" for name in wanted
    ]
    assert [metric.measure for metric in benchmark.metrics] == [
        Measure(is_share=True), Measure(), Measure("matthews_corrcoef"), Measure(is_share=True),
        Measure(higher_is_better=False),
    ]  # fmt: skip
    assert [metric.filter for metric in benchmark.metrics] == ["none", "", "none", "none", "none"]
    gold = int(benchmark.task.doc_to_target(benchmark.documents[4]))
    wrong = (gold + 1) % 4
    responses = [(0.0 if choice == wrong else -math.inf, False) for choice in range(4)]
    assert benchmark.values(4, responses) == {
        "choice_test:acc": 0.0,
        "choice_test:mcc": (float(gold), float(wrong)),
        "choice_test:acc_norm": 0.0,
        "choice_test:brier_score": 2.0,
    }


def test_the_first_metric_of_a_task_is_kept_under_the_tasks_name(tiny_zoo: TinyZoo) -> None:
    benchmarks = load_benchmarks(
        tiny_zoo.test_tasks,
        tasks_path=tiny_zoo.tasks_path,
        metrics={"words_test": ["output_length", None]},
    )
    keys = {name: [metric.key for metric in own.metrics] for name, own in benchmarks.items()}
    assert keys == {"words_test": ["words_test:output_length", "words_test"],
                    "choice_test": ["choice_test"]}  # fmt: skip


def test_a_task_may_include_another_file(tasks: Path) -> None:
    (tasks / "shared").mkdir()
    text = (tasks / "words_test.yaml").read_text()
    (tasks / "shared" / "base_yaml").write_text(text)
    (tasks / "words_test.yaml").write_text(
        "include: shared/base_yaml\nnum_fewshot: 3\ntask: mine\n"
    )
    benchmarks = load_benchmarks(["mine"], tasks_path=tasks)
    assert benchmarks["mine"].num_fewshot == 3


BROKEN = {
    "an unknown task": (
        "word_test", None, r"task 'word_test' was not found.*did you mean words_test"),
    "a missing data file": (
        "words_test", lambda t: (t / "words_test.jsonl").unlink(),
        r"reads words_test\.jsonl, which does not exist.*looked for beside"),
    "a malformed line": (
        "words_test", lambda t: replace(t / "words_test.jsonl", '"}\n', '"\n'),
        r"words_test\.jsonl, line 1 is not JSON"),
    "a line that is no UTF-8": (
        "words_test", lambda t: (t / "words_test.jsonl").write_bytes(b'{}\n{"a": "\xfc"}\n'),
        r"words_test\.jsonl, line 2 is not JSON: 'utf-8' codec"),
    "a line that is no object": (
        "words_test", lambda t: (t / "words_test.jsonl").write_text('{"a": 1}\n\n[1]\n'),
        r"words_test\.jsonl, line 3 holds a list, expected a JSON object"),
    "an empty file": (
        "words_test", lambda t: (t / "words_test.jsonl").write_text("\n"),
        r"words_test\.jsonl is empty"),
    "YAML that cannot be parsed": (
        "words_test", lambda t: (t / "words_test.yaml").write_text("task: [1"),
        r"(?s)words_test\.yaml cannot be read as YAML.*line 1"),
    "YAML that is no mapping": (
        "words_test", lambda t: (t / "words_test.yaml").write_text("{"),
        r"cannot be read as YAML"),
    "a function": (
        "words_test",
        lambda t: replace(t / "words_test.yaml", '"{{prompt}}"', "!function evil.prompt"),
        r"names code: !function evil\.prompt in .*words_test\.yaml, line 9; it would run with all "
        r"your rights: read it, then repeat the command with --allow-task-code"),
    "a class": (
        "words_test", lambda t: replace(t / "words_test.yaml", "task:", "class: Evil\ntask:"),
        r"names code: class in .*words_test\.yaml, line 1; .* --allow-task-code"),
    "unsafe code": (
        "words_test", lambda t: replace(t / "words_test.yaml", "task:", "unsafe_code: true\ntask:"),
        r"runs the programs that the model writes \(unsafe_code in .*words_test\.yaml, line 1\).* "
        r"--confirm-run-unsafe-code"),
    "code that comes with a dataset": (
        "words_test", lambda t: replace(
            t / "words_test.yaml", "dataset_kwargs:",
            "dataset_kwargs:\n  trust_remote_code: true"),
        r"comes with its dataset to run \(trust_remote_code in .*words_test\.yaml, line 3\); "
        r"repeat the command with --trust-remote-code"),
    "a group": (
        "all", lambda t: (t / "all.yaml").write_text("group: all\ntask: [words_test]\n"),
        r"group 'all' in .*all\.yaml has no aggregate_metric_list.*one by one"),
    "a group that is no list": (
        "all", lambda t: (t / "all.yaml").write_text("group: all\ntask: {a: words_test}\n"),
        r"group 'all' in .*all\.yaml has task: \{'a': 'words_test'\}, expected a list"),
    "a group with a number in it": (
        "all", lambda t: (t / "all.yaml").write_text("group: all\ntask: [words_test, 3]\n"),
        r"lists 3, expected the name of a task or group"),
    "a group that has a task twice": (
        "all", lambda t: (t / "all.yaml").write_text(
            "group: all\ntask: [words_test, words_test]\n"),
        r"group 'all' has task 'words_test' more than once"),
    "a group with an aggregation of its own": (
        "all", lambda t: (t / "all.yaml").write_text(
            "group: all\ntask: [words_test]\n"
            "aggregate_metric_list: [{metric: exact_match, aggregation: median}]\n"),
        r"a group has aggregation median, expected mean"),
    "a task defined twice": (
        "words_test", lambda t: shutil.copy(t / "words_test.yaml", t / "again.yaml"),
        r"'words_test' is defined twice.*rename one"),
    "an output type": (
        "words_test", lambda t: replace(
            t / "words_test.yaml", "output_type: generate_until",
            "output_type: multiple_rounds"),
        r"output_type 'multiple_rounds', expected one of generate_until"),
    "a file that includes itself": (
        "words_test", lambda t: replace(
            t / "words_test.yaml", "task:", "include: words_test.yaml\ntask:"),
        r"includes itself"),
    "a folder that does not exist": (
        "words_test", shutil.rmtree, r"tasks_path .* is not a folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_loading_and_checking_name_what_is_wrong(tasks: Path, case: str) -> None:
    name, spoil, message = BROKEN[case]
    if spoil:
        spoil(tasks)
    with pytest.raises(ScoringError, match=message):
        load_benchmarks([name], tasks_path=tasks)
    (problem,) = check_benchmarks([name], tasks_path=tasks)
    assert pytest.raises(ScoringError, match=message).matches(ScoringError(problem.message))


def test_checking_finds_nothing_wrong_with_good_tasks(tiny_zoo: TinyZoo) -> None:
    names = [*tiny_zoo.search_tasks, *tiny_zoo.test_tasks]
    assert check_benchmarks(names, tasks_path=tiny_zoo.tasks_path) == []


def test_checking_lists_all_problems_at_once(tasks: Path) -> None:
    (tasks / "words_test.jsonl").unlink()
    problems = check_benchmarks(
        ["words_test", "choice_test", "words_serch"],
        tasks_path=tasks,
        metrics={"choice_test": ["accuracy"]},
    )
    assert [problem.where for problem in problems] == ["words_test", "choice_test", "words_serch"]
    assert (
        "no metric 'accuracy', expected one of acc, acc_norm, log_likelihood" in problems[1].message
    )
    assert "did you mean words_search" in problems[2].message


def test_checking_imports_neither_lm_eval_nor_torch() -> None:
    code = (
        "import sys, evomerge.scoring.item_sets\n"
        "from evomerge.scoring.check import check_benchmarks\n"
        "assert len(check_benchmarks(['no_such_task'], tasks_path=None)) == 1\n"
        "sys.exit(bool({'lm_eval', 'torch', 'datasets'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_task_that_lm_eval_brings_is_known_and_read() -> None:
    assert check_benchmarks(["piqa"], tasks_path=None) == []
    (problem,) = check_benchmarks(["pica"], tasks_path=None)
    assert "not found in lm-eval (no tasks_path is given); did you mean" in problem.message
    assert "piqa" in problem.message
    (problem,) = check_benchmarks(["hellaswag"], tasks_path=None)
    assert "names code: !function utils.process_docs in " in problem.message


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        ("choice_test", "acc,strict", r"no metric 'acc,strict', expected one of likelihood,none,"),
        ("choice_test", "exact_match", r"no metric 'exact_match', expected one of likelihood,none"),
        ("choice_test", "likelihood", r"multiple_choice tasks such as 'choice_test' no 'likelihood'"
         r" that is a number, expected one of acc, acc_bytes"),
        ("choice_test", "output_length", r"'choice_test' has output_type multiple_choice, of which "
         r"there is no output_length, expected generate_until"),
        ("words_test", "bleu", r"'bleu' of task 'words_test' is aggregated by bleu, which needs "
         r"the text or the code of the whole task; expected bits_per_byte, f1, "),
        ("words_test", "agreement_rate", r"no metric 'agreement_rate', expected one of bleu,none"),
    ],
)  # fmt: skip
def test_a_metric_that_does_not_add_up_from_items_is_refused(
    tasks: Path, task: str, metric: str, message: str
) -> None:
    replace(tasks / "choice_test.yaml", "metric_list:", "metric_list:\n  - metric: likelihood")
    replace(tasks / "words_test.yaml", "metric_list:", "metric_list:\n  - metric: bleu")
    with pytest.raises(ScoringError, match=message):
        load_benchmarks([task], tasks_path=tasks, metrics={task: [metric]})


def test_a_metric_that_is_a_pair_of_texts_is_refused_when_it_is_seen(tasks: Path) -> None:
    replace(tasks / "words_test.yaml", "metric: exact_match", "metric: f1")
    benchmark = load_benchmarks(["words_test"], tasks_path=tasks)["words_test"]
    with pytest.raises(ScoringError, match=r"f1 of item 2 of task 'words_test' is \[.*a number or"):
        benchmark.values(2, ["1"])


def test_a_metric_of_which_less_is_better_says_so(tasks: Path) -> None:
    replace(tasks / "words_test.yaml", "higher_is_better: true", "higher_is_better: false")
    benchmark = load_benchmarks(["words_test"], tasks_path=tasks)["words_test"]
    assert benchmark.metrics[0].measure == Measure(higher_is_better=False, is_share=True)


@pytest.mark.parametrize("pattern", ["words_*.jsonl", "https://example.org/words.jsonl"])
def test_data_that_are_no_single_file_are_left_to_lm_eval(tasks: Path, pattern: str) -> None:
    text = (tasks / "words_test.yaml").read_text()
    (tasks / "words_test.yaml").write_text(text.replace("words_test.jsonl", pattern))
    assert pattern in (tasks / "words_test.yaml").read_text()
    assert check_benchmarks(["words_test"], tasks_path=tasks) == []


def test_a_line_that_is_not_utf_8_is_named(tasks: Path) -> None:
    with (tasks / "words_test.jsonl").open("ab") as file:
        file.write(b'{"q": "\xff"}\n')
    (problem,) = check_benchmarks(["words_test"], tasks_path=tasks)
    assert "is not JSON: 'utf-8' codec can't decode" in problem.message


def test_blank_lines_are_no_documents_as_in_lm_eval(tasks: Path) -> None:
    path = tasks / "words_test.jsonl"
    path.write_text(path.read_text().replace("\n", "\n\n"))
    assert check_benchmarks(["words_test"], tasks_path=tasks) == []
    assert load_benchmarks(["words_test"], tasks_path=tasks)["words_test"].n_items == 60


def test_documents_with_unlike_fields_are_an_error_that_names_them(tasks: Path) -> None:
    replace(tasks / "words_test.jsonl", '"target"', '"answer"')
    with pytest.raises(ScoringError, match=r"(?s)cannot load task 'words_test'.*answer"):
        load_benchmarks(["words_test"], tasks_path=tasks)


def test_a_metric_that_lm_eval_would_look_for_on_a_hub_is_refused(tasks: Path) -> None:
    replace(tasks / "words_test.yaml", "metric: exact_match", "metric: someone/evil")
    with pytest.raises(ScoringError, match=r"metric 'someone/evil', which lm-eval does not bring"):
        load_benchmarks(["words_test"], tasks_path=tasks)


def test_a_task_that_fixes_no_examples_cannot_be_given_some(tasks: Path) -> None:
    replace(tasks / "words_test.yaml", "task:", "num_fewshot: 0\ntask:")
    assert load_benchmarks(["words_test"], tasks_path=tasks)["words_test"].num_fewshot == 0
    with pytest.raises(ScoringError, match=r"fixes num_fewshot: 0.*but 2 are asked for"):
        load_benchmarks(["words_test"], tasks_path=tasks, num_fewshot=2)


def test_more_examples_than_there_are_is_an_error(tasks: Path) -> None:
    with pytest.raises(ScoringError, match=r"cannot build the prompts of task 'words_test'"):
        load_benchmarks(["words_test"], tasks_path=tasks, num_fewshot=11)


def test_a_template_that_names_a_missing_field_is_an_error(tasks: Path) -> None:
    replace(tasks / "words_test.yaml", "{{prompt}}", "{{question}}")
    with pytest.raises(ScoringError, match=r"cannot load task 'words_test'.*'question'"):
        load_benchmarks(["words_test"], tasks_path=tasks)


def test_data_that_is_on_a_hub_and_not_here_is_an_error(tasks: Path) -> None:
    """The network is off in tests: so it is of a machine that is offline."""
    replace(
        tasks / "words_test.yaml", "dataset_path: json",
        "dataset_path: someone/something\ndataset_name: small",
    )  # fmt: skip
    message = (
        r"dataset someone/something of task 'words_test' is not on this machine.*while online, run "
        r"once: python -c \"import datasets; "
        r"datasets.load_dataset\('someone/something', 'small'\)\""
    )
    with pytest.raises(ScoringError, match=message):
        load_benchmarks(["words_test"], tasks_path=tasks)


def test_a_file_that_defines_several_tasks_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "several.yaml").write_text("task: [one, two]\n")
    with pytest.raises(ScoringError, match=r"defines no single task \(task: \['one', 'two'\]\)"):
        read_task(tmp_path / "several.yaml")


def test_data_files_are_looked_for_beside_the_yaml_first(tiny_zoo: TinyZoo) -> None:
    task = read_task(tiny_zoo.tasks_path / "words_test.yaml")
    assert task.data_files[0] == (tiny_zoo.tasks_path / "words_test.jsonl").resolve()
    assert json.loads(task.data_files[0].read_text().splitlines()[0])["prompt"]
