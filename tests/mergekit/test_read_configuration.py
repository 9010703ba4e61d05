"""Configurations are understood, or refused with every problem at its line."""

from pathlib import Path

import pytest

from evomerge.config.read import Located
from evomerge.config.strict_yaml import read_document
from evomerge.mergekit.configuration import Configuration, ModelReference
from evomerge.mergekit.methods import MERGEKIT_METHODS
from evomerge.mergekit.read import Reading, read_configuration

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.yml"))

TIES = """\
merge_method: ties
base_model: base
models:
  - model: red
    parameters: {weight: 0.5, density: 0.6}
  - model: blue
    parameters: {weight: [0.1, 0.9]}
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_understood(path: Path) -> None:
    document = read_document(path)
    assert read_configuration(document.data, Located(path, document).problem).problems == ()


def test_every_method_has_an_example() -> None:
    methods = {read_document(path).data["merge_method"] for path in EXAMPLES}
    assert methods == set(MERGEKIT_METHODS)


def test_the_base_is_a_source_whether_it_is_listed_or_not(tmp_path: Path) -> None:
    listed = TIES.replace("models:", "models:\n  - model: base")
    for text in (TIES, listed):
        (part,) = _sound(tmp_path, text).slices
        assert {str(source.model) for source in part.sources} == {"base", "red", "blue"}


def test_a_key_without_a_value_counts_as_absent(tmp_path: Path) -> None:
    text = "merge_method: linear\nmodels: [{model: red}, {model: blue}]\nparameters: {weight: 1}\n"
    empty = "base_model:\nslices:\ndtype:\ntokenizer_source:\ntokenizer:\nchat_template:\n"
    assert _sound(tmp_path, text + empty) == _sound(tmp_path, text)


def test_a_module_is_unwrapped_as_in_the_configurations_that_mergekit_writes(
    tmp_path: Path,
) -> None:
    configuration = _sound(
        tmp_path,
        """\
        merge_method: linear
        modules:
          default:
            slices:
              - sources:
                  - {model: red, layer_range: [0, 4]}
                  - {model: blue, layer_range: [0, 4]}
            parameters: {weight: 0.5}
        parameters: {weight: 0.25}
        """,
    )
    inner, outer = configuration.settings
    assert (inner["weight"].numbers, outer["weight"].numbers) == ((0.5,), (0.25,))


def test_a_model_may_carry_an_adapter(tmp_path: Path) -> None:
    configuration = _sound(tmp_path, TIES.replace("model: red", "model: red+lora"))
    assert ModelReference("red", "lora") in configuration.models


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("merge_method: ties", "merge_method: tise"),
            ":1:1: merge_method: found 'tise'; expected",
        ),
        (("merge_method: ties", "merge_method: tise"), "did you mean `ties`?"),
        (("models:", "modelz:"), ":3:1: modelz: unknown key; expected one of merge_method"),
        (("models:", "modelz:"), "did you mean `models`?"),
        (("models:", "modelz:"), "models: found none of them, expected exactly one of models"),
        (
            ("density:", "dencity:"),
            ":5:31: models[0].parameters.dencity: unknown key; expected one of weight, density; "
            "did you mean `density`",
        ),
        (
            ("density: 0.6", "density: 1.6"),
            ":5:31: models[0].parameters.density: found 1.6, expected a number from 0 to 1",
        ),
        (("weight: 0.5, ", ""), ":4:5: models[0]: ties needs `weight`, which is not set here"),
        (("base_model: base\n", ""), "models: ties needs a base, and there is no base"),
        (("model: blue", "model: red"), ":6:5: models[1]: 'red' is in this slice already"),
        (("model: blue", "path: blue"), ":6:5: models[1]: has no `model`"),
        (("model: blue", "model: [blue]"), "model: found ['blue'], expected the path of a model"),
        (
            ("weight: [0.1, 0.9]", "weight: {red: 1}"),
            ":7:18: models[1].parameters.weight: found {'red': 1}, expected a number",
        ),
    ],
)
def test_a_problem_has_its_line_and_the_next_step(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    messages = [str(p) for p in _read(tmp_path, TIES.replace(*change)).problems]
    assert any(problem in message for message in messages), messages


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dtype: float8", "dtype: found 'float8'; expected one of float32, float16, bfloat16"),
        ("parameters: {normalize: 0.5}", "normalize: found 0.5, expected true or false"),
        ("parameters: {lambda: high}", "lambda: found 'high', expected a number"),
        ("slices: []", "slices: found models and slices, expected exactly one of"),
        ("chat_template: chatml", "chat_template: found 'chatml', expected `auto` or a template"),
        ("tokenizer: {source: base, tokens: {}}", "tokenizer.tokens: unknown key"),
        ("tokenizer_source: [base]", "tokenizer_source: found ['base'], expected base, union or"),
    ],
)
def test_a_line_that_cannot_be_expressed_is_refused(
    tmp_path: Path, line: str, problem: str
) -> None:
    messages = [str(p) for p in _read(tmp_path, f"{TIES}{line}\n").problems]
    assert any(problem in message for message in messages), messages


@pytest.mark.parametrize(
    ("method", "option", "problem"),
    [
        ("nuslerp", "nuslerp_flatten: false", "found false, expected true: evomerge takes vectors"),
        ("multislerp", "normalize_weights: false", "expected true: evomerge takes ratios"),
        ("multislerp", "eps: 0.1", "found 0.1, expected 1e-08: evomerge needs no such guard"),
        ("karcher", "max_iter: 1", "found 1, expected a number from 10 to inf: evomerge goes on"),
        ("karcher", "tol: 0.1", "found 0.1, expected a number from 0 to 1e-05"),
    ],
)
def test_an_option_that_is_fixed_here_is_refused_and_not_ignored(
    tmp_path: Path, method: str, option: str, problem: str
) -> None:
    weight = "" if method == "karcher" else ", weight: 1"
    text = f"""\
        merge_method: {method}
        models: [{{model: red}}, {{model: blue}}]
        parameters: {{{option}{weight}}}
        """
    (found,) = _read(tmp_path, text).problems
    assert problem in str(found)


@pytest.mark.parametrize(
    ("method", "models", "problem"),
    [
        ("slerp", "base, red, blue", "slerp was given 2 models, expected 1 beside the base"),
        ("nearswap", "red, blue", "nearswap was given 2 models, expected 1 beside the base"),
        ("model_stock", "red", "model_stock was given 1 models, expected 2 or more beside"),
        ("passthrough", "red", "passthrough was given 2 models, expected 1"),
        ("ties", "base", "ties was given 0 models, expected 1 or more beside the base"),
    ],
)
def test_the_number_of_models_is_checked(
    tmp_path: Path, method: str, models: str, problem: str
) -> None:
    listed = ", ".join(f"{{model: {name}}}" for name in models.split(", "))
    wanted = "{t: 1}" if method in ("slerp", "nearswap") else "{}"
    text = f"merge_method: {method}\nbase_model: base\nmodels: [{listed}]\nparameters: {wanted}\n"
    messages = [str(p) for p in _read(tmp_path, text).problems]
    assert any(problem in message for message in messages), messages


def test_slices_must_have_as_many_sources_and_sources_as_many_layers(tmp_path: Path) -> None:
    text = """\
        merge_method: linear
        slices:
          - sources:
              - {model: red, layer_range: [0, 2]}
              - {model: blue, layer_range: [0, 3]}
          - sources:
              - {model: red, layer_range: [3, 2]}
        parameters: {weight: 1}
        """
    messages = [str(problem) for problem in _read(tmp_path, text).problems]
    assert len(messages) == 4
    assert any("slices[0]: its sources have 2, 3 layers" in message for message in messages)
    assert any("found [3, 2], expected [FIRST, STOP]" in message for message in messages)
    assert any("the slices have 2, 1 sources" in message for message in messages)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = TIES.replace("weight: 0.5, ", "").replace("models:", "bar: 1\nmodels:") + "dtype: int8\n"
    assert len(_read(tmp_path, text).problems) == 3


def test_with_a_misspelled_method_the_rest_is_read_all_the_same(tmp_path: Path) -> None:
    text = TIES.replace("merge_method: ties", "merge_method: tise").replace("density", "dencity")
    first, second = _read(tmp_path, text).problems
    assert "did you mean `ties`" in first.message
    assert "did you mean `density`" in second.message


def _sound(tmp_path: Path, text: str) -> Configuration:
    reading = _read(tmp_path, text)
    assert reading.problems == ()
    assert reading.configuration is not None
    return reading.configuration


def _read(tmp_path: Path, text: str) -> Reading:
    path = tmp_path / "file.yml"
    lines = text.splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    path.write_text("\n".join(line[indent:] for line in lines) + "\n")
    document = read_document(path)
    return read_configuration(document.data, Located(path, document).problem)
