"""A model on disk as a source of memory-mapped tensors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from evomerge.checkpoint.files import (
    ADAPTER,
    ADAPTER_CONFIG,
    CONFIG,
    check_folder,
    nature,
    read_json,
    tensor_files,
)
from evomerge.checkpoint.quantised import refuse_quantised
from evomerge.errors import ModelError
from evomerge.records import TensorInfo

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The dtypes of tensors that can be merged or copied, by their name in safetensors."""

HEADS = ("lm_head.weight", "embed_out.weight")
"""Names of output projections that are the embedding itself in a model with tied embeddings."""

DIGESTS = "sha256"
"""Where the metadata of a file that was written here has the SHA-256 of each tensor, as JSON."""

_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit


class Checkpoint:
    """An open model: its config as data, and its tensors as views of the mapped files.

    The files are mapped privately and read-only in effect: pages are loaded when a tensor's values
    are touched, shared with other processes, and dropped by the system when memory is short.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], shards: "Sequence[Shard]") -> None:
        self.path = path
        self.config = config
        self.shards = tuple(shards)
        self._shards = {name: shard for shard in shards for name in shard.infos}
        self._infos = {name: info for shard in shards for name, info in shard.infos.items()}
        self._views: dict[str, Tensor] = {}

    def infos(self) -> Mapping[str, TensorInfo]:
        """Every tensor's name, shape and dtype, in the order of the data; no values are read."""
        return self._infos

    @property
    def ties_embeddings(self) -> bool:
        """Whether the model's output projection is its embedding."""
        return _ties_embeddings(self.config)

    def with_second_name(self, name: str, second: str) -> "Checkpoint":
        """The same model with a tensor under a second name as well."""
        other = Checkpoint(self.path, self.config, self.shards)
        info = self._infos[name]
        other._infos[second] = TensorInfo(second, info.shape, info.dtype)
        other._views[second] = self.read(name)
        return other

    def read(self, name: str) -> Tensor:
        """The tensor as a view of the mapped file: read it, never write to it.

        Raises:
            ModelError: there is no such tensor.
        """
        if name not in self._views:
            if name not in self._shards:
                raise ModelError(
                    f"model {self.path} has no tensor '{name}'; it has {len(self._infos)} tensors, "
                    f"the first is '{next(iter(self._infos), None)}'"
                )
            self._views[name] = self._shards[name].read(name)
        return self._views[name]


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a model folder in Hugging Face format without reading its tensors.

    Raises:
        ModelError: the folder, its config.json or its safetensors are missing, damaged or not what
            they claim to be; the message names the file and the next step.
    """
    check_folder(path)
    config = read_json(path / CONFIG)
    refuse_quantised(path, config, ())  # before tensors of dtypes that are unknown here
    shards = [Shard(file, listed) for file, listed in tensor_files(path).items()]
    refuse_quantised(path, config, (info for shard in shards for info in shard.infos.values()))
    _leave_out_tied_head(config, shards)
    return Checkpoint(path, config, shards)


def open_adapter_file(path: Path) -> Checkpoint:
    """Open an adapter's own tensors, with its adapter_config.json as the config.

    Raises:
        ModelError: its files are missing, damaged or not what they claim to be.
    """
    if not (path / ADAPTER).is_file():
        raise ModelError(
            f"adapter folder {path} has no {ADAPTER}, expected it beside its {ADAPTER_CONFIG}; "
            "finish its download, or save it again with peft's save_pretrained(): a .bin file can "
            "run code when loaded and is refused"
        )
    config = read_json(path / ADAPTER_CONFIG)
    return Checkpoint(path, config, [Shard(path / ADAPTER, None)])


def open_tensors(file: Path) -> Checkpoint:
    """Open a single safetensors file that is neither model nor adapter, and has no config.

    Raises:
        ModelError: it is missing, damaged or not what it claims to be.
    """
    return Checkpoint(file, {}, [Shard(file, None)])


class Shard:
    """One safetensors file, open and mapped.

    `names` are all its tensors in the order of their bytes, `infos` those that are the model's.

    Args:
        file: the file.
        listed: the tensors that an index says it holds, if there is one.

    Raises:
        ModelError: it is damaged, not what it claims to be, or not what the index says.
    """

    def __init__(self, file: Path, listed: set[str] | None) -> None:
        self.file = file
        self._handle = _opened(file)
        self.names: tuple[str, ...] = tuple(self._handle.offset_keys())
        self.infos = {name: self._info(name) for name in self.names}
        odd = sorted(listed ^ set(self.infos)) if listed is not None else []
        if odd:
            raise ModelError(
                f"{file} and the index disagree on {len(odd)} tensors, such as '{odd[0]}'; "
                "expected the same names in both, download the model again"
            )

    def read(self, name: str) -> Tensor:
        """A tensor as a view of the mapped file."""
        tensor: Tensor = self._handle.get_tensor(name)
        return tensor

    def digests(self) -> dict[str, str]:
        """The SHA-256 of the bytes of tensors, where the file itself tells them."""
        try:
            told = json.loads((self._handle.metadata() or {}).get(DIGESTS, "{}"))
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}

    def header(self) -> bytes:
        """The bytes before those of the first tensor."""
        with self.file.open("rb") as opened:
            length = opened.read(8)
            return length + opened.read(int.from_bytes(length, "little"))

    def _info(self, name: str) -> TensorInfo:
        entry = self._handle.get_slice(name)
        kind = entry.get_dtype()
        if kind not in DTYPES:
            raise ModelError(
                f"{self.file}: tensor '{name}' has dtype {kind}, expected one of "
                f"{', '.join(DTYPES)}; use the model before it was quantised, or convert it to "
                "bfloat16 first"
            )
        return TensorInfo(name, tuple(entry.get_shape()), DTYPES[kind])


def _opened(file: Path) -> Any:
    """A mapped safetensors file, which the library does not annotate."""
    try:
        handle = safe_open(str(file), framework="pt")
    except (SafetensorError, OSError, RuntimeError) as error:
        found = nature(file) or f"damaged: {error}"
        raise ModelError(
            f"{file} is {found}; expected whole safetensors, download it again"
        ) from error
    _refuse_repeated_names(file)
    return handle


def _refuse_repeated_names(file: Path) -> None:
    """Refuse a header that names a tensor twice: the format forbids it, the library takes one."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = next(name for name in names if names.count(name) > 1)
            raise ModelError(
                f"{file} is damaged: its header names '{repeated}' twice, expected once; "
                "download it again"
            )
        return entries

    with file.open("rb") as opened:
        n_bytes = min(int.from_bytes(opened.read(8), "little"), _MAX_HEADER_BYTES)
        json.loads(opened.read(n_bytes), object_pairs_hook=unique)


def _leave_out_tied_head(config: Mapping[str, Any], shards: list[Shard]) -> None:
    """Forget a stored copy of the head where the model ties it to the embedding.

    Loading the model would ignore the copy; merging it as a tensor of its own would make the merge
    on disk differ from the live one.
    """
    for shard in shards:
        for head in HEADS:
            if head in shard.infos and _ties_embeddings(config):
                del shard.infos[head]


def _ties_embeddings(config: Mapping[str, Any]) -> bool:
    explicit = config.get("tie_word_embeddings")
    if explicit is not None:
        return bool(explicit)
    # transformers takes seconds to import, and configs rarely leave this open beside a stored head.
    from transformers import CONFIG_MAPPING

    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        return False
    return bool(getattr(CONFIG_MAPPING[model_type](), "tie_word_embeddings", False))
