"""Merges that know the experts' texts, on the zoo's real models and the texts of its tasks."""

import json
from pathlib import Path

import pytest
import torch

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.errors import UsageError
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import find_method
from evomerge.merge.prepared import PreparedMerge
from evomerge.records import GroupRecipe, Recipe
from evomerge.run.build import fingerprint_models
from evomerge.run.needed import statistics_digests, statistics_paths
from evomerge.run.preparing import prepare_experiment
from evomerge.run.validate import load_experiment
from evomerge.scoring.resident import ResidentModel
from evomerge.workers.worker import open_all_statistics

ZOO = Path(__file__).parents[2] / "experiments" / "zoo"
EXPERTS = ("math", "german", "lists")
METHODS = ("linear", "regmean", "fisher", "ties", "ties+aim")

EXPERIMENT = """\
base: {zoo}/models/base
experts: {{math: {zoo}/models/math, german: {zoo}/models/german, lists: {zoo}/models/lists}}
tasks_path: {zoo}/tasks
objectives: [{{task: lists_search}}]
merge:
  method: [{methods}]
  statistics:
    texts: {{base: all.jsonl, math: math.jsonl, german: german.jsonl, lists: lists.jsonl}}
    n_sequences: 64
    sequence_length: 64
    folder: statistics
"""


def items(skill: str, split: str) -> list[tuple[str, str]]:
    """Prompt and answer of each item of a task."""
    lines = (ZOO / "tasks" / f"{skill}_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    return [(document["prompt"], document["target"]) for document in documents]


def write_text(path: Path, texts: list[tuple[str, str]]) -> None:
    documents = [json.dumps({"text": f"{prompt} {target}"}) for prompt, target in texts]
    path.write_text("\n".join(documents))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("informed")
    for skill in EXPERTS:
        write_text(folder / f"{skill}.jsonl", items(skill, "search"))
    write_text(folder / "all.jsonl", [item for s in EXPERTS for item in items(s, "search")[:40]])
    path = folder / "experiment.yaml"
    path.write_text(EXPERIMENT.format(zoo=ZOO, methods=", ".join(METHODS)))
    return path


@pytest.fixture(scope="module")
def prepared(config: Path) -> PreparedMerge:
    """The zoo's models, opened with what `evomerge prepare` collected."""
    torch.set_num_threads(1)
    prepare_experiment(config, ())
    experiment = load_experiment(config)
    digests = statistics_digests(experiment, "float32", fingerprint_models(experiment))
    return PreparedMerge(
        open_checkpoint(experiment.base),
        {name: open_checkpoint(path) for name, path in experiment.experts.items()},
        open_all_statistics(statistics_paths(experiment, digests)),
    )


@pytest.fixture(scope="module")
def live() -> ResidentModel:
    return ResidentModel.from_folder(ZOO / "models" / "base", dtype=torch.float32)


def at_defaults(method: str, live: ResidentModel) -> Recipe:
    group = GroupRecipe(method, find_method(method).defaults())
    groups = layer_groups(live.tensors, granularity=1, split_modules=False)
    return Recipe(EXPERTS, dict.fromkeys(groups, group))


def losses(live: ResidentModel) -> dict[str, float]:
    """The mean loss of an answer's tokens, over items that no statistics were collected from."""
    found = {}
    for skill in EXPERTS:
        total, n_tokens = 0.0, 0
        for prompt, target in items(skill, "select")[:60]:
            asked = live.tokenizer(prompt)["input_ids"]
            tokens = torch.tensor([*asked, *live.tokenizer(f" {target}")["input_ids"]])
            with torch.no_grad():
                logits = live.model(input_ids=tokens[None]).logits[0, len(asked) - 1 : -1]
            answer = tokens[len(asked) :]
            total += torch.nn.functional.cross_entropy(logits, answer, reduction="sum").item()
            n_tokens += len(answer)
        found[skill] = total / n_tokens
    return found


@pytest.mark.slow
def test_what_is_prepared_merges_into_a_live_model_and_helps(
    prepared: PreparedMerge, live: ResidentModel
) -> None:
    found = {}
    for method in METHODS:
        recipe = at_defaults(method, live)
        prepared.materialise(recipe, live.tensors)
        for name, tensor in prepared.merged(recipe):
            assert torch.equal(live.tensors[name], tensor.float())
        found[method] = losses(live)
        print(method, {k: round(v, 3) for k, v in found[method].items()})
    mean = {method: sum(found[method].values()) / 3 for method in METHODS}
    assert mean["regmean"] < mean["linear"]
    assert mean["fisher"] < mean["linear"]
    assert mean["ties+aim"] != mean["ties"]


@pytest.mark.slow
def test_an_opened_zoo_without_statistics_refuses(live: ResidentModel) -> None:
    base = open_checkpoint(ZOO / "models" / "base")
    experts = {name: open_checkpoint(ZOO / "models" / name) for name in EXPERTS}
    with pytest.raises(UsageError, match=r"regmean needs grams of german.*evomerge prepare"):
        PreparedMerge(base, experts).merged(at_defaults("regmean", live))
