"""The vocabulary and the chat template of a merge by a configuration of mergekit."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.checkpoint.files import read_json
from evomerge.checkpoint.vocabulary import read_vocabulary
from evomerge.checkpoint.vocabulary_alignment import BASE, UNION, Alignment, align
from evomerge.checkpoint.vocabulary_config import config_changes, generation_document
from evomerge.checkpoint.vocabulary_files import tokenizer_folder
from evomerge.checkpoint.vocabulary_rows import Model
from evomerge.checkpoint.vocabulary_tables import vocabulary_tables
from evomerge.config.read import Located
from evomerge.errors import ConfigError, Problem
from evomerge.mergekit.configuration import Configuration, ModelReference
from evomerge.mergekit.report import expected_one_of

Models = Mapping[ModelReference, Model]

_TEMPLATE = "chat_template.jinja"
_TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True)
class MergedVocabulary:
    """The models of a configuration with one vocabulary.

    Args:
        models: themselves, or with the rows of their tables gathered anew.
        alignment: how; None where the configuration says nothing about a tokenizer.
    """

    models: Models
    alignment: Alignment | None = None

    def config_changes(self, first: Model) -> dict[str, Any]:
        """What config.json of the first model says otherwise with this vocabulary."""
        if self.alignment is None:
            return {}
        return config_changes(first, self.alignment.owner, self.alignment.n_rows)

    def tokenizer_from(self, scratch: Path) -> Path | None:
        """The folder with the tokenizer, made in `scratch` where it is new; None for that of
        the first model."""
        return None if self.alignment is None else tokenizer_folder(self.alignment, scratch)

    def documents(self, first: Model) -> dict[str, str]:
        """generation_config.json with the special tokens of another model, where there is one."""
        return {} if self.alignment is None else generation_document(first, self.alignment.owner)


def merged_vocabulary(
    configuration: Configuration, models: Models, located: Located
) -> MergedVocabulary:
    """Give the models the vocabulary that the configuration wants.

    With a `tokenizer_source` tables have as many rows as there are tokens, as in mergekit. Without
    one mergekit cuts all tables to the rows of the smallest, here they must be alike.

    Raises:
        ConfigError: it names a tokenizer of none of the models, or says nothing about one while
            their tables differ; or there is no base to fill rows from.
        ModelError: a tokenizer is damaged, or missing where it is needed.
    """
    first, *others = configuration.models
    wanted = configuration.tokenizer
    if wanted is None:
        problems = list(_different_tables(configuration, models, located))
        if problems:
            raise ConfigError(problems)
        return MergedVocabulary(models)
    names = [str(model) for model in others]
    source = BASE if wanted.source == str(first) else wanted.source
    if source not in (BASE, UNION, *names):
        known = [BASE, UNION, str(first), *names]
        message = f"found '{source}'; {expected_one_of(source, known)}"
        raise ConfigError([located.problem(wanted.place, message)])
    if configuration.base is None and len(models) > 2 and _differ(models):
        message = (
            "the models' tokens differ and there is no base; expected `base_model`, whose rows "
            "stand in where a model lacks a token: name one of the models"
        )
        raise ConfigError([located.problem(wanted.place, message)])
    alignment = align(
        models[first],
        {str(model): models[model] for model in others},
        tokenizer=source,
        trim=True,
        pad_to_multiple_of=wanted.pad_to_multiple_of,
    )
    same = {first: alignment.base, **{m: alignment.experts[str(m)] for m in others}}
    return MergedVocabulary(same, alignment)


def chat_template(configuration: Configuration, models: Models) -> dict[str, str]:
    """The document that holds the chat template, if the configuration asks for one.

    `auto` is the template of most models, the first of these where several are as frequent.
    """
    wanted = configuration.chat_template
    if wanted == "auto":
        templates = filter(None, (_template_of(model.path) for model in models.values()))
        wanted = next((text for text, _ in Counter(templates).most_common(1)), None)
    return {} if wanted is None else {_TEMPLATE: wanted}


def _different_tables(
    configuration: Configuration, models: Models, located: Located
) -> list[Problem]:
    first, *others = configuration.models
    _, expected = vocabulary_tables(models[first].infos(), models[first].config)
    problems = []
    for model in others:
        _, found = vocabulary_tables(models[model].infos(), models[model].config)
        if found != expected:
            message = (
                f"'{model}' has {found} rows in its vocabulary tables, expected {expected} as in "
                f"'{first}'; add `tokenizer_source: base` or `union` to match them by token: "
                "mergekit without it would cut all tables to the smallest"
            )
            problems.append(located.problem(configuration.place_of(model), message))
    return problems


def _differ(models: Models) -> bool:
    """Whether the models' tokenizers, as far as they have one, know different tokens."""
    vocabularies = [read_vocabulary(model.path) for model in models.values()]
    return len({frozenset(known.ids) for known in vocabularies if known is not None}) > 1


def _template_of(folder: Path) -> str | None:
    if (folder / _TEMPLATE).is_file():
        return (folder / _TEMPLATE).read_text(encoding="utf-8")
    if not (folder / _TOKENIZER_CONFIG).is_file():
        return None
    template = read_json(folder / _TOKENIZER_CONFIG).get("chat_template")
    return template if isinstance(template, str) else None
