"""Reading an experiment file: what is right is understood, what is wrong is located."""

from pathlib import Path

import pytest

from evomerge.config.read import Reading, read_experiment
from evomerge.errors import ConfigError

GOOD = """\
base: models/base
experts: {math: models/math, german: /elsewhere/german}
objectives:
  - {task: math_search, test: math_test}
search: {population: 8}
seed: 3
"""


def read(tmp_path: Path, text: str, *overrides: str) -> Reading:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return read_experiment(path, overrides)


def messages(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """Every problem as `line:column: message`, whether it stops the reading or not."""
    try:
        problems = read(tmp_path, text, *overrides).problems
    except ConfigError as error:
        problems = error.problems
    return [str(problem).replace(f"{tmp_path}/experiment.yaml:", "") for problem in problems]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD).experiment
    assert experiment is not None
    assert experiment.base == tmp_path / "models/base"
    assert experiment.experts["math"] == tmp_path / "models/math"
    assert experiment.experts["german"] == Path("/elsewhere/german")


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD).experiment
    assert experiment is not None
    assert experiment.search.population == 8
    assert experiment.search.controller == "nsga2"
    assert experiment.scoring.threads == 1


def test_an_override_replaces_a_value_and_makes_missing_sections(tmp_path: Path) -> None:
    overrides = ("seed=7", "budget.evaluations=40", "objectives.0.task=other", "base=b2")
    experiment = read(tmp_path, GOOD, *overrides).experiment
    assert experiment is not None
    assert (experiment.seed, experiment.budget.evaluations) == (7, 40)
    assert experiment.objectives[0].task == "other"
    assert experiment.base == tmp_path / "b2"


def test_an_unknown_key_is_located_and_the_nearest_name_given(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, GOOD + "merge: {granularty: 2}\n")
    assert message.startswith("7:9: merge.granularty: unknown key; expected one of method,")
    assert message.endswith("did you mean `granularity`?")


def test_all_problems_are_told_at_once_and_the_rest_is_understood(tmp_path: Path) -> None:
    text = GOOD.replace("population: 8", "population: many") + "mode: quick\ncolour: red\n"
    reading = read(tmp_path, text)
    places = [problem.message.split(":")[0] for problem in reading.problems]
    assert places == ["search.population", "mode", "colour"]
    assert reading.experiment is not None
    assert reading.experiment.seed == 3


def test_a_missing_required_key_is_told(tmp_path: Path) -> None:
    reading = read(tmp_path, GOOD.replace("base: models/base\n", ""))
    assert [str(problem.message) for problem in reading.problems] == [
        "base: is missing and has no default; add it"
    ]
    assert reading.experiment is None


def test_a_wrong_override_is_blamed_and_not_the_file(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, GOOD, "search.population=none")
    assert message.startswith("--set search.population: search.population: found 'none'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object/apply:os.system [ls]\n", "1: the tag `.*` is refused"),
        ("a: !function utils.load\n", "1: the tag `!function` is refused"),
        ("seed: 1\nseed: 2\n", "2:1: duplicate key"),
        ("[" * 20_000, "1: nested deeper than 32 levels"),
        ("a: &x [1]\nb: [" + "*x, " * 17 + "*x]\n", "2: more than 16 aliases"),
        ("- 1\n- 2\n", "no mapping; expected keys"),
        ("", "an empty file; expected keys"),
        ("a: [1,\n", "not valid YAML"),
        ("seed: 2026-99-99\n", "not valid YAML: month must be in 1..12"),
        ("&a {seed: *a}\n", "an alias holds itself: write values out"),
    ],
)
def test_yaml_that_could_hurt_or_mislead_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_experiment(path)


@pytest.mark.parametrize("value", ["2026-99-99", "&a [*a]", "9" * 5000, "[1"])
def test_an_override_that_is_no_value_is_refused(tmp_path: Path, value: str) -> None:
    (message,) = messages(tmp_path, GOOD, f"seed={value}")
    assert message.endswith("is not a YAML value that can be used")


@pytest.mark.parametrize("value", [".inf", ".nan", "1e12"])
@pytest.mark.parametrize("key", ["scoring.timeout_s", "budget.wall_time_s"])
def test_a_time_limit_is_a_number_that_timers_take(tmp_path: Path, key: str, value: str) -> None:
    (message,) = messages(tmp_path, GOOD, f"{key}={value}")
    assert "Input should be" in message


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("a: " + "x" * (1 << 20))
    with pytest.raises(ConfigError, match="bytes; an experiment file has at most"):
        read_experiment(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        read_experiment(tmp_path / "nowhere.yaml")


def test_numbers_and_words_keep_their_meaning(tmp_path: Path) -> None:
    text = GOOD + "scoring: {timeout_s: 1e1}\n"
    experiment = read(tmp_path, text).experiment
    assert experiment is not None
    assert experiment.scoring.timeout_s == 10.0


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "x\\y", "n" * 129])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    text = GOOD.replace("math: models/math", f"'{name}': models/math")
    (message,) = messages(tmp_path, text)
    assert "experts" in message
    assert "should match pattern" in message


def test_a_merge_key_is_understood_and_what_it_brings_is_checked(tmp_path: Path) -> None:
    text = GOOD + "scoring: &both {threads: 2}\ntracking: {<<: *both, mlflow: false}\n"
    reading = read(tmp_path, text)
    assert [problem.message.split(";")[0] for problem in reading.problems] == [
        "tracking.threads: unknown key"
    ]


@pytest.mark.parametrize("value", ["2020-13-45", "&a [*a]", "9" * 5000, "[1,"])
def test_an_override_that_is_no_usable_value_is_refused(tmp_path: Path, value: str) -> None:
    (message,) = messages(tmp_path, GOOD, f"seed={value}")
    assert message.startswith("--set: `")
    assert message.endswith("is not a YAML value that can be used")


def test_an_override_of_a_step_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, GOOD, "objectives.².task=other")
    assert message == "--set: there is nothing to set at `²` (².task)"


def test_a_limit_that_is_infinite_is_refused(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, GOOD + "scoring: {timeout_s: .inf}\n")
    assert message.endswith("scoring.timeout_s: found inf; Input should be a finite number")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resources.num_cpus=0.00001", "expected at most four decimals"),
        ("resources.num_gpus=0.33333", "expected at most four decimals"),
        ("resources.num_gpus=1.5", "expected a whole number of GPUs, or a part of a single one"),
        ("resources.custom={disk: 0.00001}", "expected at most four decimals"),
        ("resources.custom={GPU: 1}", "Ray counts this by itself; expected `num_cpus`"),
    ],
)
def test_resources_that_ray_cannot_count_are_refused(
    tmp_path: Path, override: str, message: str
) -> None:
    (found,) = messages(tmp_path, GOOD, override)
    assert message in found


def test_resources_that_ray_counts_are_taken(tmp_path: Path) -> None:
    overrides = (
        "resources.num_gpus=0.3333",
        "resources.num_cpus=1.5",
        "resources.custom={disk: 2}",
    )
    assert read(tmp_path, GOOD, *overrides).problems == ()


def test_texts_of_objectives_are_relative_to_the_file(tmp_path: Path) -> None:
    objectives = "  - {text: a.txt, metric: perplexity, test_text: sub/b.jsonl}"
    experiment = read(
        tmp_path, GOOD.replace("objectives:", f"objectives:\n{objectives}")
    ).experiment
    assert experiment is not None
    first = experiment.objectives[0]
    assert (first.text, first.test_text) == (tmp_path / "a.txt", tmp_path / "sub/b.jsonl")
