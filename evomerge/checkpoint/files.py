"""The files of a model folder: which ones hold its tensors, and what is wrong with them if not."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from evomerge.errors import ModelError

CONFIG = "config.json"
GENERATION = "generation_config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"

_SNIFFED_BYTES = 512
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
)
"""The tokenizer of a model, with its special tokens and its chat template."""

COPIED_FILES = (CONFIG, GENERATION, *TOKENIZER_FILES)
"""What a merged model takes over from its base, beside the shape of its weights."""


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter for a model, rather than a model.

    Raises:
        ModelError: it holds both.
    """
    if not (path / ADAPTER_CONFIG).is_file():
        return False
    if (path / SINGLE).exists() or (path / INDEX).exists():
        raise ModelError(
            f"folder {path} holds a model and an adapter, expected one of them; move {SINGLE} and "
            f"its config, or the adapter's files, to a folder of their own"
        )
    return True


def check_folder(path: Path) -> None:
    """Refuse a path that is not the folder of a model.

    Raises:
        ModelError: there is no such folder, or it has no config.json.
    """
    if is_adapter(path) or (path / ADAPTER).exists():
        raise ModelError(
            f"model folder {path} holds an adapter, expected a full model: only an expert may be "
            f"an adapter, with its {ADAPTER_CONFIG}; name the model it was trained on, or merge it "
            "into that with peft's merge_and_unload() and save_pretrained()"
        )
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise ModelError(
            f"model folder {path} {found}; expected a folder with {CONFIG} and safetensors"
            f"{_nearest_sibling(path)}. A model of a hub has to be downloaded first, for example "
            "with: hf download OWNER/NAME --local-dir FOLDER"
        )
    if not (path / CONFIG).is_file():
        raise ModelError(
            f"model folder {path} has no {CONFIG}; expected a model in Hugging Face format, with "
            f"{CONFIG} beside the weights: is this its parent folder?"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, as data.

    Raises:
        ModelError: the file is not a JSON object.
    """
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({error}){_nature(path)}; download the model again"
        ) from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds a {type(data).__name__}, expected a JSON object")
    return data


def tensor_files(path: Path) -> dict[Path, set[str] | None]:
    """The safetensors files of a model, each with the tensors that the index says it holds.

    Returns:
        file → tensor names, or None where there is a single file and no index.

    Raises:
        ModelError: there are none or they are no files, the index is malformed, or it names a file
            that is missing or lies elsewhere.
    """
    if (path / SINGLE).exists():
        _refuse_other_than_file(path / SINGLE)
        return {path / SINGLE: None}
    if not (path / INDEX).exists():
        raise ModelError(_no_safetensors(path))
    shards: dict[Path, set[str]] = {}
    for tensor, shard in _weight_map(path / INDEX).items():
        shards.setdefault(_contained(path, shard), set()).add(tensor)
    missing = sorted(shard.name for shard in shards if not shard.exists())
    if missing:
        raise ModelError(
            f"{path / INDEX} names {len(missing)} files that are missing, the first is "
            f"'{missing[0]}'; finish the download of the model"
        )
    for file in shards:
        _refuse_other_than_file(file)
    return {shard: shards[shard] for shard in sorted(shards)}


def nature(path: Path) -> str | None:
    """What a file that could not be read really is, where its first bytes tell.

    Only for files that failed: sound safetensors may start with any byte, the length of the header.
    """
    with path.open("rb") as file:
        head = file.read(_SNIFFED_BYTES)
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights: run 'git lfs pull' in the model's repository"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, probably an error message saved by a download"
    is_cut_short = head[8:9] == b"{"  # behind its length the header of safetensors begins
    if head.startswith((b"\x80", b"PK\x03\x04")) and not is_cut_short:
        return "a PyTorch pickle under another name, which is never loaded"
    return None


def _nature(path: Path) -> str:
    what = nature(path) if path.is_file() else None
    return f": this is {what}" if what else ""


def _refuse_other_than_file(path: Path) -> None:
    if not path.is_file():
        raise ModelError(
            f"{path} is {'a folder' if path.is_dir() else 'no regular file'}, expected a "
            "safetensors file; download the model again"
        )


def _nearest_sibling(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor does its parent folder {path.parent})"
    siblings = sorted(sibling.name for sibling in path.parent.iterdir() if sibling.is_dir())
    match = get_close_matches(path.name, siblings, n=1)
    return f"; did you mean '{match[0]}' beside it?" if match else ""


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    entries = weight_map if isinstance(weight_map, dict) else {}
    if entries and all(isinstance(shard, str) for shard in entries.values()):
        return entries
    raise ModelError(
        f"{index} has no usable 'weight_map', expected an object from tensor names to file names; "
        "download the model again"
    )


def _contained(folder: Path, shard: str) -> Path:
    # Hub snapshots are symbolic links out of the folder, so contain names, not resolved paths.
    if shard in ("", ".", "..") or any(mark in shard for mark in "/\\:\0"):
        raise ModelError(
            f"{folder / INDEX} names the file '{shard}', expected a bare file name: an index must "
            "not point outside its folder; do not use this model"
        )
    return folder / shard


def _no_safetensors(path: Path) -> str:
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if not pickles:
        return (
            f"model folder {path} has neither {SINGLE} nor {INDEX}; finish its download, or save "
            "the model again with save_pretrained()"
        )
    return (
        f"model folder {path} holds its weights as {pickles[0]}, which can run code when loaded "
        "and is refused; expected safetensors. If you trust its source, convert it where nothing "
        "is at stake:\n"
        "    import torch\n"
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f'    model = AutoModelForCausalLM.from_pretrained("{path}", dtype="auto")\n'
        f'    model.save_pretrained("{path}-safetensors", safe_serialization=True)\n'
        f'    AutoTokenizer.from_pretrained("{path}").save_pretrained("{path}-safetensors")'
    )
