"""Check the texts of objectives, what they compare with, and keys that say nothing about them."""

from collections.abc import Iterator
from pathlib import Path

from evomerge.config.experiment import MODEL_METRICS, TEXT_METRICS, Experiment, Objective
from evomerge.config.read import Located, expected_one_of
from evomerge.errors import Problem, UsageError
from evomerge.merge.statistics import BASE
from evomerge.scoring.text_files import (
    FEWEST_ITEMS,
    LONGEST,
    read_documents,
    read_prompts,
    too_short,
)

_ENOUGH = 1 << 23
"""Characters that are looked at: more than a run reads of a text."""

_OF_TASKS = frozenset({"test", "num_fewshot", "chat_template"})
_OF_TEXTS = frozenset({"test_text"})
_OF_KL = frozenset({"test_text", "reference", "chat_template"})


def check_texts(experiment: Experiment, located: Located) -> Iterator[Problem]:
    """What is wrong with the objectives beside their tasks."""
    models = (BASE, *experiment.experts)
    for index, objective in enumerate(experiment.objectives):
        for key in _idle_keys(objective):
            message = f"`{key}` says nothing about {_subject(objective)}; leave it out"
            yield located.problem(("objectives", index, key), message)
        if objective.metric == "kl" and objective.reference not in models:
            message = (
                f"no model `{objective.reference}`; {expected_one_of(objective.reference, models)}"
            )
            yield located.problem(("objectives", index, "reference"), message)
        for key, path in (("text", objective.text), ("test_text", objective.test_text)):
            if path is not None and objective.metric in TEXT_METRICS:
                try:
                    _check_text(path, objective.metric)
                except UsageError as error:
                    yield located.problem(("objectives", index, key), str(error))


def _idle_keys(objective: Objective) -> list[str]:
    """Keys that were given and that no score of this objective depends on."""
    used = _OF_TASKS
    if objective.metric in MODEL_METRICS:
        used = frozenset()
    elif objective.metric in TEXT_METRICS:
        used = _OF_KL if objective.metric == "kl" else _OF_TEXTS
    return sorted(((_OF_TASKS | _OF_KL) - used) & objective.model_fields_set)


def _subject(objective: Objective) -> str:
    """What an objective measures, in words."""
    if objective.metric in MODEL_METRICS:
        return f"the model's {objective.metric}"
    return f"the {objective.metric} of a text" if objective.text else "a task"


def _check_text(path: Path, metric: str) -> None:
    """Raise UsageError where the text cannot be read, or is too short by any tokenizer."""
    if not path.is_file():
        raise UsageError(f"found no file {path}; expected a text, plain or JSONL")
    documents = map(iter, zip(read_prompts(path))) if metric == "kl" else read_documents(path)
    n_bytes = n_items = 0
    for document in documents:
        length = 0
        for piece in document:
            length += len(piece.encode())
            if n_bytes + length > _ENOUGH:
                return
        n_bytes += length
        # No token is shorter than a byte.
        n_items += min(length, 1) if metric == "kl" else -(-length // LONGEST)
    if n_items < FEWEST_ITEMS:
        raise too_short(path, metric, n_items)
