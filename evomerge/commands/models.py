"""The commands that make and score models."""

from pathlib import Path
from typing import Annotated

import typer

from evomerge.commands.permissions import with_permissions
from evomerge.commands.shared import (
    AsJson,
    ConfigPath,
    Overrides,
    RunDir,
    print_value,
)
from evomerge.records import NO_CODE, Permissions


def export(
    run_dir: RunDir,
    candidate_id: Annotated[str, typer.Argument(help="Identity of a candidate or baseline.")],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
) -> None:
    """Write a candidate as an ordinary Hugging Face model with its card.

    Example: evomerge export runs/quickstart 3f9a0c1d2e4b merged/
    """
    from evomerge.run.exporting import export_candidate

    export_candidate(run_dir, candidate_id, out_dir)


def transplant(
    model: Annotated[Path, typer.Argument(help="Model folder, Hugging Face format.")],
    donor: Annotated[Path, typer.Argument(help="Folder of the model whose tokenizer it gets.")],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
    k: Annotated[int, typer.Option(min=1, help="Shared tokens that a new one is made of.")] = 64,
    anchors: Annotated[
        int | None, typer.Option(min=1, help="Choose among so many shared tokens; all by default.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Choose so many at a time: faster, a little less exact.")
    ] = 1,
) -> None:
    """Give a model the tokenizer of another one, without training.

    Example: evomerge transplant expert/ base/ expert-with-tokens-of-base/ --at-once 8
    """
    from evomerge.run.transplanting import transplant_tokenizer

    transplant_tokenizer(model, donor, out_dir, k=k, anchors=anchors, at_once=at_once)


def merge(
    config: Annotated[
        Path, typer.Argument(help="Configuration of mergekit (YAML).", show_default=False)
    ],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the model.")],
    seed: Annotated[int, typer.Option(help="Key of random masks.")] = 0,
) -> None:
    """Merge models as a configuration of mergekit says.

    Example: evomerge merge mergekit_config.yml merged/
    """
    from evomerge.run.merging import merge_configuration

    merge_configuration(config, out_dir, seed=seed)


@with_permissions
def evaluate(
    model_dir: Annotated[Path, typer.Argument(help="Model folder, Hugging Face format.")],
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    permissions: Permissions = NO_CODE,
) -> None:
    """Score a model on the search, selection and test items of an experiment.

    Example: evomerge evaluate merged/ experiments/quickstart.yaml
    """
    from evomerge.run.evaluating import evaluate_model, print_evaluation

    evaluation = evaluate_model(model_dir, config, overrides or (), permissions)
    print_value(evaluation, as_json, print_evaluation)
