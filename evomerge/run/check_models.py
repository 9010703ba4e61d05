"""Check the models of an experiment: opened, undamaged, and fit to be merged."""

from collections.abc import Iterator, Mapping

from evomerge.checkpoint.adapter import OpenModel, open_model, open_stored
from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.preflight import compare
from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.checkpoint.vocabulary_alignment import BASE, align, disagreement
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.config.experiment import Experiment
from evomerge.config.read import Located
from evomerge.config.strict_yaml import KeyPath
from evomerge.errors import ModelError, Problem
from evomerge.run.baselines import RESERVED_NAMES
from evomerge.run.check_merge import check_groups


def check_models(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with the base and the experts, and what keeps them from being merged."""
    for name in experiment.experts:
        if name in RESERVED_NAMES:
            message = f"`{name}` is the name of a baseline in every report; name the expert anew"
            yield located.problem(("experts", name), message)
    opened: dict[KeyPath, OpenModel] = {}
    base: Checkpoint | None = None
    try:
        opened[("base",)] = base = open_checkpoint(experiment.base)
    except ModelError as error:
        yield located.problem(("base",), str(error))
    for name, path in experiment.experts.items():
        try:
            # Without a base, an adapter can still be checked for itself.
            opened[("experts", name)] = open_model(path, base) if base else open_stored(path)
        except ModelError as error:
            yield located.problem(("experts", name), str(error))
    for key, model in opened.items():
        for problem in find_damage(model):
            yield located.problem(key, str(problem))
    if base is not None:
        if not (experiment.base / "tokenizer_config.json").is_file():
            message = (
                f"model folder {experiment.base} has no tokenizer_config.json; expected the "
                "base's tokenizer beside its weights, as save_pretrained writes it"
            )
            yield located.problem(("base",), message)
        yield from check_groups(experiment, base, located)
        experts = {str(key[1]): opened[key] for key in opened if key != ("base",)}
        tokenizer = BASE if experiment.merge.tokenizer else None
        yield from _located_mismatches(base, experts, tokenizer, located)


def _located_mismatches(
    base: Checkpoint, experts: Mapping[str, OpenModel], tokenizer: str | None, located: Located
) -> Iterator[Problem]:
    for name, expert in experts.items():
        fitted: Model = expert
        try:
            if tokenizer is None and (difference := disagreement(base, expert)):
                yield located.problem(("experts", name), difference)
            else:
                fitted = align(base, {name: expert}, tokenizer=tokenizer).experts[name]
        except ModelError as error:
            yield located.problem(("experts", name), str(error))
        for problem in compare(base, {name: fitted}):
            yield located.problem(("experts", name), problem.message)
