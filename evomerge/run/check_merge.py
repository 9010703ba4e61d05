"""Check how an experiment merges: methods, layer groups, the texts that methods need."""

from collections.abc import Iterator

from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.vocabulary_alignment import BASE
from evomerge.config.experiment import Experiment
from evomerge.config.read import Located, expected_one_of
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import Problem, UsageError
from evomerge.merge.groups import layer_groups
from evomerge.merge.methods import METHODS, find_method
from evomerge.run.choosing import DEFAULT, KINDS, homeless_groups, idle_keys, named_methods
from evomerge.run.needed import all_models, models_of, needed_kinds


def check_merge(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with `merge`, as far as it shows without the models."""
    for place, name in named_methods(experiment.merge.method):
        if message := _method_problem(name, len(experiment.experts)):
            yield located.problem(("merge", "method", *place), message)
    if experiment.merge.tokenizer not in (None, BASE):
        yield located.problem(("merge", "tokenizer"), _other_vocabulary(experiment.merge.tokenizer))
    yield from _check_texts(experiment, located)


def check_groups(experiment: Experiment, base: Checkpoint, located: Located) -> Iterator[Problem]:
    """What is wrong with the layer groups that `merge.method` names."""
    merge = experiment.merge
    groups = layer_groups(
        base.infos(),
        granularity=merge.granularity,
        split_modules=merge.split_modules,
        routers=merge.routers,
    )
    for key in idle_keys(merge.method, groups):
        keys = tuple(dict.fromkeys((DEFAULT, *KINDS, *groups)))
        message = f"no layer group `{key}`; {expected_one_of(key, keys)}"
        yield located.problem(("merge", "method", key), message)
    if homeless := homeless_groups(merge.method, groups):
        message = f"no method for {', '.join(homeless)}; name them, or add `{DEFAULT}`"
        yield located.problem(("merge", "method"), message)


def _other_vocabulary(tokenizer: str) -> str:
    return (
        f"found `{tokenizer}`, expected `{BASE}`: candidates are merged into the base and scored "
        "with its tokenizer. For another vocabulary give the base that one first (`evomerge "
        "transplant` gives it an expert's), and search from there"
    )


def _method_problem(name: str, n_experts: int) -> str | None:
    try:
        method = find_method(name)
    except UsageError as error:
        if set(name) & set("+("):
            return str(error)
        return f"no method `{name}`; {expected_one_of(name, tuple(METHODS))}"
    if method.n_experts in (None, n_experts):
        return None
    n = method.n_experts
    return (
        f"{name} merges exactly {n} experts, found {n_experts}; name {n}, or choose another method"
    )


def _check_texts(experiment: Experiment, located: Located) -> Iterator[Problem]:
    texts = experiment.merge.statistics.texts
    where: KeyPath = ("merge", "statistics", "texts")
    models = all_models(experiment)
    for name, path in texts.items():
        if name not in models:
            message = f"no model `{name}`; {expected_one_of(name, models)}"
            yield located.problem((*where, name), message)
        elif not path.is_file():
            message = f"found no file {path}; expected a text, plain or JSONL"
            yield located.problem((*where, name), message)
    try:
        kinds = needed_kinds(experiment)
    except UsageError:
        return  # said where the method is named
    for kind, method in kinds.items():
        if missing := [model for model in models_of(kind, experiment) if model not in texts]:
            message = (
                f"{method} needs the {kind} of each model on a text of it, and there is none of "
                f"{', '.join(missing)}; name a file for each"
            )
            yield located.problem(where, message)
