"""`transplant`: a model with the tokenizer of another one, as a new folder."""

from pathlib import Path

from evomerge.checkpoint.reader import open_checkpoint
from evomerge.checkpoint.transplant import Transplant
from evomerge.checkpoint.vocabulary_config import config_changes, generation_document
from evomerge.checkpoint.writer import write_checkpoint


def transplant_tokenizer(
    model_dir: Path,
    donor_dir: Path,
    out_dir: Path,
    *,
    k: int = 64,
    anchors: int | None = None,
    at_once: int = 1,
) -> None:
    """Write the model with the donor's tokenizer, special tokens and chat template.

    Raises:
        UsageError: `out_dir` exists and is not an empty folder.
        ModelError: one of the models cannot be read, or they have no token in common.
        InfrastructureError: the disk refuses.
    """
    out_dir = out_dir.resolve()
    model, donor = open_checkpoint(model_dir), open_checkpoint(donor_dir)
    transplant = Transplant(model, donor, k=k, anchors=anchors, at_once=at_once)
    matching = transplant.matching
    print(f"{len(matching.shared)} tokens in common, {len(matching.new)} new", flush=True)
    write_checkpoint(
        transplant.tensors(),
        out_dir,
        like=model,
        infos=transplant.infos(),
        config_changes=config_changes(model, donor, transplant.n_rows),
        tokenizer_from=donor.path,
        documents=generation_document(model, donor),
    )
    for table, residual in transplant.residuals().items():
        print(f"{table}: new rows are off by {residual:.1%} of their length on average")
    print(f"{out_dir}: {model_dir} with the tokenizer of {donor_dir}")
