"""A broken experiment is told what is wrong, where, and what to do; all of it at once."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evomerge.errors import ConfigError
from evomerge.run.validate import load_experiment
from tests.experiment import write_experiment
from tests.tiny import TinyZoo, write_model

Break = Callable[[Path], None]


def replace(before: str, after: str) -> Break:
    def apply(config: Path) -> None:
        text = config.read_text()
        assert before in text
        config.write_text(text.replace(before, after))

    return apply


def slerp_of_one(config: Path) -> None:
    text = re.sub(r", blue: [^}]*", "", config.read_text())
    config.write_text(text.replace("method: task_arithmetic", "method: slerp:mergekit"))


def use_expert(make: Callable[[Path], object]) -> Break:
    """Point the expert `red` at a folder that `make` fills."""

    def apply(config: Path) -> None:
        folder = config.parent / "expert"
        make(folder)
        line = next(line for line in config.read_text().splitlines() if "experts:" in line)
        blue = line.split("blue: ")[1].rstrip("}")
        replace(line, f"experts: {{red: {folder}, blue: {blue}}}")(config)

    return apply


def only_a_pickle(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def of_another_shape(folder: Path) -> None:
    write_model(folder, seed=9, layers=3)


def with_nan(zoo: TinyZoo) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        shutil.copytree(zoo.experts["red"], folder)
        tensors = load_file(folder / "model.safetensors")
        name = next(iter(tensors))
        tensors[name].view(-1)[0] = torch.nan
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return make


BROKEN: dict[str, tuple[Break, str]] = {
    "a typo in a key": (
        replace("merge: {method", "merge: {granularty: 2, method"),
        r"yaml:7:9: merge\.granularty: unknown key; expected one of .*did you mean `granularity`",
    ),
    "a typo in a method": (
        replace("task_arithmetic", "task_arithmetik"),
        r"yaml:7:9: merge\.method: no method `task_arithmetik`.*did you mean `task_arithmetic`",
    ),
    "a typo in a controller": (
        replace("nsga2", "nsga"),
        r"yaml:8:10: search\.controller: no controller `nsga`; .*did you mean `nsga2`",
    ),
    "a task that does not exist": (
        replace("task: words_search", "task: words_serch"),
        r"yaml:5:6: objectives\[0\]\.task: .*words_serch.*words_search",
    ),
    "a folder that does not exist": (
        replace("tasks_path: ", "tasks_path: /nowhere"),
        r"yaml:3:1: tasks_path: found no folder /nowhere",
    ),
    "a budget below the population": (
        replace("evaluations: 20", "evaluations: 3"),
        r"yaml:10:10: budget\.evaluations: 3 evaluations are fewer than search\.population \(4\)",
    ),
    "a budget that ends with the calibration": (
        replace("scoring: {", "scoring: {estimator: irt, calibration: 20, "),
        r"yaml:10:10: budget\.evaluations: 20 evaluations are not more than scoring\.calibration",
    ),
    "a time limit in deterministic mode": (
        replace("evaluations: 20", "evaluations: 20, wall_time_s: 60"),
        r"yaml:10:27: budget\.wall_time_s: .*set `mode: async`",
    ),
    "a word where a number belongs": (
        replace("seed: 0", "seed: zero"),
        r"yaml:12:1: seed: found 'zero'; Input should be a valid integer",
    ),
    "a pickle as expert": (
        use_expert(only_a_pickle),
        r"yaml:2:11: experts\.red: .*save_pretrained",
    ),
    "an expert of another shape": (
        use_expert(of_another_shape),
        r"yaml:2:11: experts\.red: num_hidden_layers is 3, expected 2",
    ),
    "a test task that is the search task": (
        replace("test: words_test", "test: words_search"),
        r"yaml:5:26: objectives\[0\]\.test: `words_search` is used by objectives\[0\]\.task",
    ),
    "an expert with the name of a baseline": (
        replace("{red: ", "{uniform: "),
        r"yaml:2:11: experts\.uniform: `uniform` is the name of a baseline",
    ),
    "a method for another number of experts": (
        slerp_of_one,
        r"yaml:7:\d+: merge.method: slerp:mergekit merges exactly 2 experts, found 1",
    ),
    "a method of several that is not known": (
        replace("method: task_arithmetic", "method: [ties, diess]"),
        r"yaml:7:\d+: merge\.method\[1\]: no method `diess`",
    ),
    "a method twice": (
        replace("method: task_arithmetic", "method: [ties, ties]"),
        r"yaml:7:\d+: merge\.method: found .*; expected a merge method, a list of different ones",
    ),
    "a method for a group that is not there": (
        replace("method: task_arithmetic", "method: {default: ties, layers.8-9: sce}"),
        r"yaml:7:\d+: merge\.method\.layers\.8-9: no layer group `layers\.8-9`",
    ),
    "no method for some groups": (
        replace("method: task_arithmetic", "method: {layers: ties}"),
        r"yaml:7:\d+: merge\.method: no method for embeddings.*; name them, or add `default`",
    ),
    "a cluster for no worker": (
        replace("seed: 0", "address: 10.0.0.1:6379"),
        r"yaml:12:1: address: found 10.0.0.1:6379, but `workers: 0` scores in this process",
    ),
    "the same objective twice": (
        replace("{task: choice_search, test: choice_test}", "{task: words_search}"),
        r"yaml:6:5: objectives\[1\]: measures the same as objectives\[0\]; leave one of them out",
    ),
    "two objectives of a name": (
        replace("{task: choice", "{name: words_search, task: choice"),
        r"yaml:6:5: objectives\[1\]: is called `words_search` as objectives\[0\] is; give",
    ),
    "a bound of no form": (
        replace("{task: choice_search", "{task: choice_search, require: about base"),
        r"yaml:6:\d+: objectives\[1\]\.require: found 'about base', expected `>=` or `<=`",
    ),
    "a bound of no baseline": (
        replace("{task: choice_search", "{task: choice_search, require: '>= 1 * bse'"),
        r"yaml:6:\d+: objectives\[1\]\.require: no baseline `bse`; .*did you mean `base`",
    ),
    "bounds alone": (
        lambda config: config.write_text(
            config.read_text().replace("_test}", "_test, require: '>= 0'}")
        ),
        r"yaml:4:1: objectives: every objective has a bound",
    ),
    "other examples of the same task": (
        replace(
            "{task: choice_search, test: choice_test}",
            "{task: words_search, metric: output_length, num_fewshot: 2}",
        ),
        r"yaml:6:\d+: objectives\[1\]\.num_fewshot: `words_search` has another num_fewshot in obj",
    ),
    "another test of the same task": (
        replace(
            "{task: choice_search, test: choice_test}",
            "{task: words_search, metric: output_length, test: choice_test}",
        ),
        r"yaml:6:\d+: objectives\[1\]\.test: `words_search` has the test `words_test` already",
    ),
    "agreement on a test": (
        replace("{task: choice_search", "{metric: agreement, task: choice_search"),
        r"yaml:6:\d+: objectives\[1\]\.test: agreement is with merges that the search has tried",
    ),
    "workers that are no number": (
        replace("seed: 0", "workers: many"),
        r"yaml:12:\d+: workers",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_located_and_explained(
    tmp_path: Path, tiny_zoo: TinyZoo, name: str
) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    break_it, expected = BROKEN[name]
    break_it(config)
    with pytest.raises(ConfigError, match=f"(?s){expected}"):
        load_experiment(config)


def test_an_expert_with_numbers_that_are_none_is_refused(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    use_expert(with_nan(tiny_zoo))(config)
    with pytest.raises(ConfigError, match=r"experts\.red: .*tensor '.*' in .* has 1 of .* NaN"):
        load_experiment(config)


def test_an_expert_whose_bits_changed_is_refused(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    use_expert(lambda folder: shutil.copytree(tiny_zoo.experts["red"], folder))(config)
    weights = tmp_path / "expert/model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (tmp_path / "expert/SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
    load_experiment(config)
    content = weights.read_bytes()
    weights.write_bytes(content[:-2] + bytes([content[-2] ^ 1, content[-1]]))
    with pytest.raises(ConfigError, match=r"experts\.red: .*model\.safetensors has the SHA-256"):
        load_experiment(config)


def test_a_chat_needs_a_base_with_a_template(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    text = config.read_text().replace("test: words_test", "test: words_test, chat_template: true")
    base = Path(shutil.copytree(tiny_zoo.base, tmp_path / "base"))
    config.write_text(text.replace(f"base: {tiny_zoo.base}", f"base: {base}"))
    with pytest.raises(
        ConfigError, match=r"objectives\[0\]\.chat_template: the tokenizer in .*no chat"
    ):
        load_experiment(config)
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert load_experiment(config).objectives[0].chat_template


def test_a_base_without_its_tokenizer_is_refused(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    shutil.copytree(tiny_zoo.base, tmp_path / "base")
    (tmp_path / "base/tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match=r"base: .* has no tokenizer_config\.json"):
        load_experiment(config, (f"base={tmp_path / 'base'}",))


def test_everything_wrong_is_told_at_once_from_the_top(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    for name in ("a budget below the population", "a typo in a key", "a typo in a controller"):
        BROKEN[name][0](config)
    with pytest.raises(ConfigError) as caught:
        load_experiment(config)
    places = [problem.where.rsplit(":", 2)[1] for problem in caught.value.problems]
    assert places == ["7", "8", "10"]


def test_one_task_may_be_measured_in_several_ways(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    config = write_experiment(tmp_path, tiny_zoo)
    line = "  - {task: words_search, test: words_test"
    more = f"{line}, metric: output_length}}\n{line}, name: enough, require: '>= 0.5 * base'}}\n"
    config.write_text(config.read_text().replace("merge:", f"{more}merge:", 1))
    titles = [objective.title for objective in load_experiment(config).objectives]
    assert titles == ["words_search", "choice_search", "words_search.output_length", "enough"]


def test_a_good_experiment_is_understood(tmp_path: Path, tiny_zoo: TinyZoo) -> None:
    experiment = load_experiment(write_experiment(tmp_path, tiny_zoo))
    assert tuple(experiment.experts) == ("red", "blue")
