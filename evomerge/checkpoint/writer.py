"""Writing a merge as a model folder that Hugging Face loads, all of it or nothing."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from uuid import uuid4

from huggingface_hub import split_state_dict_into_shards_factory
from torch import Tensor

from evomerge.checkpoint.files import CONFIG, COPIED_FILES, INDEX, TOKENIZER_FILES
from evomerge.checkpoint.manifest import MANIFEST, manifest_of
from evomerge.checkpoint.reader import Checkpoint
from evomerge.checkpoint.stream import StreamedFile, in_threads, n_bytes
from evomerge.errors import (
    InfrastructureError,
    ModelError,
    NonFiniteError,
    ShapeError,
    UsageError,
)
from evomerge.records import TensorInfo

_SHARD_BYTES = 5_000_000_000

T = TypeVar("T")


def write_checkpoint(
    tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
    out_dir: Path,
    *,
    like: Checkpoint,
    infos: Mapping[str, TensorInfo] | None = None,
    config_changes: Mapping[str, object] | None = None,
    tokenizer_from: Path | None = None,
    documents: Mapping[str, str] = MappingProxyType({}),
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Write tensors as a model like another one: safetensors, its config, its tokenizer.

    The folder is written aside, brought to the disk and renamed when complete, so that `out_dir`
    never holds half a model. Its digests are beside the weights, for `sha256sum -c SHA256SUMS`.
    Tensors are written in threads as they come, in any order, and a few are in memory at a time.

    Args:
        tensors: exactly the tensors of `infos`: names, shapes, dtypes; all finite. The values of a
            mapping are looked up in threads.
        out_dir: a folder that does not exist or is empty.
        like: the base; only read.
        infos: the tensors of the new model in their order, where they are not those of `like`.
        config_changes: values of config.json that are not those of `like`, by key.
        tokenizer_from: the folder whose tokenizer the model has, where it is not that of `like`.
        documents: texts to write beside the weights, by file name.
        shard_bytes: the largest size of a file, except of one with a single tensor.

    Raises:
        UsageError: `out_dir` exists and is not an empty folder.
        ModelError: a tensor is missing, unknown, given twice, or of another dtype.
        ShapeError: a tensor has another shape.
        NonFiniteError: a tensor has entries that are NaN or infinite.
        InfrastructureError: the disk refuses.
    """
    if out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir())):
        raise UsageError(
            f"{out_dir} exists and is not an empty folder; expected a new one: choose another "
            "name, or remove it first"
        )
    expected = like.infos() if infos is None else infos
    with _complete_or_absent(out_dir) as folder:
        _write_tensors(tensors, folder, expected, shard_bytes)
        _copy(COPIED_FILES, like.path, folder)
        if config_changes:
            text = json.dumps({**like.config, **config_changes}, indent=2, ensure_ascii=False)
            (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        if tokenizer_from is not None:
            for name in TOKENIZER_FILES:
                (folder / name).unlink(missing_ok=True)
            _copy(TOKENIZER_FILES, tokenizer_from, folder)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / MANIFEST).write_text(manifest_of(folder.iterdir()), encoding="utf-8")


def _copy(names: Iterable[str], source: Path, folder: Path) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


@contextmanager
def _complete_or_absent(out_dir: Path) -> Iterator[Path]:
    """A folder beside `out_dir` that becomes `out_dir`, or vanishes after an error."""
    aside = out_dir.with_name(f".{out_dir.name}.{uuid4().hex[:8]}.partial")
    try:
        aside.mkdir(parents=True)
        yield aside
        for path in (*aside.iterdir(), aside):
            _sync(path)
        aside.rename(out_dir)
        _sync(out_dir.parent)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {out_dir}: {error}; free space or choose another place, then try again: "
            "nothing half-written is left"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_tensors(
    tensors: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
    folder: Path,
    expected: Mapping[str, TensorInfo],
    shard_bytes: int,
) -> None:
    """Write every tensor to its place in its file, and the index if there are several files."""
    split = split_state_dict_into_shards_factory(
        dict(expected),
        get_storage_size=n_bytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    with ExitStack() as open_files:
        files = {
            file: open_files.enter_context(
                closing(StreamedFile(folder / file, [expected[name] for name in names]))
            )
            for file, names in split.filename_to_tensors.items()
        }

        def consume(name: str, tensor: Tensor) -> None:
            _check(name, tensor, expected[name])
            files[split.tensor_to_filename[name]].write(name, tensor)

        if isinstance(tensors, Mapping):
            list(_each_once(((name, None) for name in tensors), expected))
            in_threads(tensors, consume)
        else:
            in_threads(_each_once(tensors, expected), consume)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _each_once(
    pairs: Iterable[tuple[str, T]], expected: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, T]]:
    """The pairs, if their names are those expected."""
    seen: set[str] = set()
    for name, value in pairs:
        if name not in expected or name in seen:
            raise ModelError(
                f"tensor '{name}' was given {'twice' if name in seen else 'and is unknown'}, "
                "expected each tensor of the model once; write what PreparedMerge.merged yields"
            )
        seen.add(name)
        yield name, value
    if missing := [name for name in expected if name not in seen]:
        raise ModelError(
            f"{len(missing)} of the model's {len(expected)} tensors were not given, the first is "
            f"'{missing[0]}'; write what PreparedMerge.merged yields"
        )


def _check(name: str, tensor: Tensor, expected: TensorInfo) -> None:
    if tuple(tensor.shape) != expected.shape:
        raise ShapeError(
            f"tensor '{name}' has shape {tuple(tensor.shape)}, expected {expected.shape}; was "
            "it merged from this base?"
        )
    if tensor.dtype != expected.dtype:
        raise ModelError(
            f"tensor '{name}' has dtype {tensor.dtype}, expected {expected.dtype}; write "
            " the merged tensors, not the live ones"
        )
    if tensor.is_floating_point() and tensor.numel():
        low, high = tensor.aminmax()  # either is NaN where any entry is
        if not (low.isfinite() and high.isfinite()):
            raise NonFiniteError(
                f"tensor '{name}' has entries that are NaN or infinite, expected finite weights; "
                "nothing was written"
            )
