"""`merge`: a configuration of mergekit, merged into a model folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evomerge.checkpoint.adapter import OpenModel, open_model, untied
from evomerge.checkpoint.damage import find_damage
from evomerge.checkpoint.layer_names import count_layers
from evomerge.checkpoint.reader import Checkpoint, open_checkpoint
from evomerge.checkpoint.writer import write_checkpoint
from evomerge.config.read import Located
from evomerge.config.strict_yaml import read_document
from evomerge.errors import ConfigError, EvomergeError, Problem
from evomerge.mergekit.card import merge_card
from evomerge.mergekit.configuration import Configuration, ModelReference
from evomerge.mergekit.read import read_configuration
from evomerge.run.assembling import Assembly
from evomerge.run.merging_vocabulary import chat_template, merged_vocabulary

CONFIG_NAME = "mergekit_config.yml"
_TEXT = "text_config"


def merge_configuration(path: Path, out_dir: Path, *, seed: int = 0) -> None:
    """Merge what a configuration of mergekit says into a new model folder.

    Args:
        path: the file; paths of models in it are relative to its folder.
        out_dir: a folder that does not exist or is empty.
        seed: the key of random masks.

    Raises:
        ConfigError: the file is wrong, or its models do not fit; every problem with its line.
        UsageError: a value has no meaning, or `out_dir` is taken.
        ModelError: the models do not fit each other, or their merge is not finite.
    """
    out_dir = out_dir.resolve()  # `.` has no name of its own
    document = read_document(path, "a configuration of mergekit", "`merge_method:` and `models:`")
    located = Located(path, document)
    configuration, models = open_configuration(path, located)
    vocabulary = merged_vocabulary(configuration, models, located)
    assembly = Assembly(configuration, vocabulary.models)
    prepared = assembly.prepared
    like = open_checkpoint(_folder(configuration.models[0].path, path))
    with TemporaryDirectory() as scratch:
        write_checkpoint(
            prepared.merged_with(assembly.recipes(), assembly.experts, seed=seed),
            out_dir,
            like=like,
            infos=prepared.infos(),
            config_changes=_changes(
                like.config, vocabulary.config_changes(like), assembly.config_changes()
            ),
            tokenizer_from=vocabulary.tokenizer_from(Path(scratch)),
            documents={
                **vocabulary.documents(like),
                **chat_template(configuration, models),
                **_documents(configuration, path, out_dir),
            },
        )
    print(f"{out_dir}: {len(prepared.infos())} tensors merged by {configuration.method}")


def _documents(configuration: Configuration, path: Path, out_dir: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    card = merge_card(
        out_dir.name,
        method=configuration.method,
        models=[str(model) for model in configuration.models],
        configuration=text,
    )
    return {"README.md": card, CONFIG_NAME: text}


def _changes(config: Mapping[str, Any], *several: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a config together, the text part of multimodal models likewise."""
    changes: dict[str, Any] = {}
    for change in several:
        changes |= change
    parts = [change[_TEXT] for change in several if _TEXT in change]
    if parts:
        own = config[_TEXT]
        changed = ({k: v for k, v in part.items() if own.get(k) != v} for part in parts)
        changes[_TEXT] = {**own, **{key: value for part in changed for key, value in part.items()}}
    return changes


def open_configuration(
    path: Path, located: Located
) -> tuple[Configuration, Mapping[ModelReference, OpenModel]]:
    """A configuration that is sound, with its models open.

    Raises:
        ConfigError: the file is wrong, or a model cannot be opened; every problem with its line.
    """
    reading = read_configuration(located.document.data, located.problem)
    problems = list(reading.problems)
    configuration = reading.configuration
    if configuration is None:
        raise ConfigError(problems)
    models: dict[ModelReference, OpenModel] = {}
    for model in configuration.models:
        try:
            models[model] = _open(model, path)
            damage = [problem.message for problem in find_damage(models[model])]
        except EvomergeError as error:
            damage = [str(error)]
        place = configuration.place_of(model)
        problems += [located.problem(place, message) for message in damage]
    problems += _depth_problems(configuration, models, located)
    if problems:
        raise ConfigError(problems)
    first = models[configuration.models[0]]
    return configuration, {
        name: untied(model, first) if isinstance(model, Checkpoint) else model
        for name, model in models.items()
    }


def _open(model: ModelReference, file: Path) -> OpenModel:
    whole = open_checkpoint(_folder(model.path, file))
    return whole if model.adapter is None else open_model(_folder(model.adapter, file), whole)


def _folder(model: str, file: Path) -> Path:
    return file.resolve().parent / Path(model).expanduser()


def _depth_problems(
    configuration: Configuration, models: Mapping[ModelReference, OpenModel], located: Located
) -> Iterator[Problem]:
    """The sources whose layers their models do not have."""
    for part in configuration.slices:
        for source in part.sources:
            if source.layers is None or source.model not in models:
                continue
            place = (*source.place, "layer_range")
            try:
                n_layers = count_layers(models[source.model].infos())
            except EvomergeError as error:
                yield located.problem(place, str(error))
                continue
            if source.layers[1] > n_layers:
                first, stop = source.layers
                yield located.problem(
                    place,
                    f"found [{first}, {stop}], expected an end of at most {n_layers}: "
                    f"'{source.model}' has {n_layers} layers",
                )
